import { execFileSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Test } from "tap";
import { temporaryDirectory } from "./samples.ts";

export interface RedfishPlay {
  /** In place of what a board answers to a path: status and document; undefined: what it usually does. */
  readonly answer?: (
    method: string,
    path: string,
  ) => { status: number; body?: unknown; headers?: Record<string, string> } | undefined;
  /** Reset types in the system itself; undefined: in an ActionInfo. */
  readonly allowed?: readonly string[];
  readonly isOn?: boolean;
  /** Who signs its certificate, for which names; undefined: it does itself, for none. */
  readonly signed?: { readonly by: Authority; readonly subjectAltName: string };
}

/** Files of openssl. */
export interface Authority {
  readonly certificate: string;
  readonly key: string;
}

export function makeAuthority(t: Test): Authority {
  const directory = temporaryDirectory(t);
  const files = { certificate: join(directory, "authority.pem"), key: join(directory, "authority.key") };
  makeCertificate(files, "/CN=authority of the boards", []);
  return files;
}

function signedBy({ by, subjectAltName }: NonNullable<RedfishPlay["signed"]>): string[] {
  const extensions = [`subjectAltName=${subjectAltName}`, "basicConstraints=CA:FALSE"];
  return ["-CA", by.certificate, "-CAkey", by.key, ...extensions.flatMap((one) => ["-addext", one])];
}

function makeCertificate({ certificate, key }: Authority, subject: string, more: readonly string[]): void {
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const files = ["-keyout", key, "-out", certificate];
  execFileSync("openssl", ["req", "-x509", ...curve, "-days", "1", "-subj", subject, ...files, ...more], {
    stdio: "ignore",
  });
}

/** A board that speaks as much of Redfish as switching needs, with a certificate that it made itself. */
export async function startRedfishBoard(t: Test, login: string, play: RedfishPlay = {}) {
  const directory = temporaryDirectory(t);
  const file = (name: string) => join(directory, name);
  const { signed } = play;
  makeCertificate(
    { certificate: file("certificate.pem"), key: file("key.pem") },
    "/CN=board",
    signed ? signedBy(signed) : [],
  );
  const certificate = readFileSync(file("certificate.pem"), "utf8");
  let isOn = play.isOn ?? false;
  /** What was asked, with the login that was shown. */
  const asked: string[] = [];
  const logins: (string | undefined)[] = [];
  const system = "/redfish/v1/Systems/1";
  const reset = `${system}/Actions/ComputerSystem.Reset`;
  const documents = (): Record<string, unknown> => ({
    "/redfish/v1/": { Systems: { "@odata.id": "/redfish/v1/Systems" } },
    "/redfish/v1/Systems": { Members: [{ "@odata.id": system }] },
    [system]: {
      PowerState: isOn ? "On" : "Off",
      Actions: {
        "#ComputerSystem.Reset": {
          target: reset,
          ...(play.allowed
            ? { "ResetType@Redfish.AllowableValues": play.allowed }
            : { "@Redfish.ActionInfo": `${system}/ResetActionInfo` }),
        },
      },
    },
    [`${system}/ResetActionInfo`]: {
      Parameters: [{ Name: "ResetType", AllowableValues: ["On", "ForceOff", "ForceRestart"] }],
    },
  });
  const server = createServer(
    { key: readFileSync(file("key.pem")), cert: certificate },
    (request, response) => {
      let body = "";
      request.on("data", (text: Buffer) => (body += text.toString()));
      request.on("end", () => {
        const { method = "", url = "" } = request;
        asked.push(`${method} ${url}${body === "" ? "" : ` ${body}`}`);
        logins.push(request.headers.authorization);
        const send = (status: number, document?: unknown, headers: Record<string, string> = {}) => {
          response.writeHead(status, { "content-type": "application/json", ...headers });
          response.end(
            document === undefined
              ? undefined
              : typeof document === "string"
                ? document
                : JSON.stringify(document),
          );
        };
        const other = play.answer?.(method, url);
        if (other) return send(other.status, other.body, other.headers);
        if (request.headers.authorization !== `Basic ${Buffer.from(login).toString("base64")}`)
          return send(401);
        if (method === "POST" && url === reset) {
          const { ResetType: type } = JSON.parse(body) as { ResetType: string };
          isOn = type !== "ForceOff" && type !== "GracefulShutdown";
          return send(204);
        }
        const document = documents()[url];
        send(document === undefined ? 404 : 200, document);
      });
    },
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    /** SHA-256 of its certificate. */
    certificate: createHash("sha256").update(new X509Certificate(certificate).raw).digest("hex"),
    asked,
    logins,
    resets: () => asked.filter((one) => one.startsWith("POST")).map((one) => one.split('"')[3]),
  };
}
