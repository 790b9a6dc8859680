import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Test } from "tap";
import type { ClusterAuthorities } from "../../server/pki/cluster-authorities.ts";
import { issueWithKey } from "../../server/pki/master-files.ts";

/** A request as it arrived. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly contentType: string | undefined;
  readonly body: string;
  /** Serial number of the client's certificate. */
  readonly serial: string;
  readonly commonName: string;
  /** Server name of the TLS handshake, RFC 6066 s.3. */
  readonly serverName: string | false;
}

export interface Told {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** An object goes as JSON, a text as it is. */
  readonly body?: object | string;
}

/**
 * Something on loopback that has an API server's certificate and asks for the client's, and says what it is told to say.
 * @param answer undefined: it never answers
 */
export async function fakeApiServer(
  t: Test,
  authorities: Pick<ClusterAuthorities, "cluster">,
  answer: (asked: Asked) => Told | undefined,
  { asksCertificate = true, at = { host: "127.0.0.1", port: 0 } } = {},
) {
  const { certificatePem, privateKeyPem } = await issueWithKey(
    authorities.cluster,
    {
      commonName: "kube-apiserver",
      organizations: [],
      usages: ["serverAuth"],
      dnsNames: ["kubernetes"],
      addresses: ["10.0.0.11"],
    },
    { cluster: { keyAlgorithm: "ECDSA-P256" }, now: Date.now(), lifeMs: 3_600_000 },
  );
  const asked: Asked[] = [];
  const server: Server = createServer(
    {
      cert: certificatePem,
      key: privateKeyPem,
      ca: authorities.cluster.certificatePem,
      requestCert: asksCertificate,
      rejectUnauthorized: asksCertificate,
    },
    (request: IncomingMessage, response: ServerResponse) => {
      let body = "";
      request.on("data", (chunk: Buffer) => (body += chunk.toString()));
      request.on("end", () => {
        const socket = request.socket as TLSSocket & { servername: string | false };
        const peer = socket.getPeerCertificate();
        const one: Asked = {
          method: request.method ?? "",
          path: request.url ?? "",
          contentType: request.headers["content-type"],
          body,
          serial: peer.serialNumber,
          commonName: String(peer.subject?.CN ?? ""),
          serverName: socket.servername,
        };
        asked.push(one);
        const told = answer(one);
        if (!told) return;
        const isText = typeof told.body === "string";
        response.writeHead(told.status ?? 200, {
          "content-type": isText ? "text/plain" : "application/json",
          ...told.headers,
        });
        response.end(isText ? told.body : JSON.stringify(told.body ?? {}));
      });
    },
  );
  // A client that does not trust it, or that it does not trust, is the other side's to tell of.
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(at.port, at.host, resolve));
  t.teardown(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  const { port } = server.address() as AddressInfo;
  return { target: { host: at.host, port }, asked, server };
}
