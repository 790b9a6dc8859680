import type { Ipv4 } from "../net/ipv4.ts";
import { obtainLease } from "./dhcp-client.ts";
import { createHttpClient, type HttpAnswer, HttpFailed, type HttpRequest } from "./http-client.ts";
import { operatingSystem } from "./profiles.ts";
import { type Phase, type Station, Stopped } from "./station.ts";

/** What a kernel command line of this server says (server/image/README.md); other roles' lines have less. */
interface CommandLine {
  readonly root: string | undefined;
  readonly callback: string | undefined;
  readonly noCloud: string | undefined;
  readonly ignition: string | undefined;
}

export function readCommandLine(text: string): CommandLine {
  const valueOf = (name: string) =>
    text
      .split(" ")
      .find((word) => word.startsWith(`${name}=`))
      ?.slice(name.length + 1);
  return {
    root: valueOf("rollcall.root"),
    callback: valueOf("rollcall.callback"),
    noCloud: /(?:^| )ds=nocloud[^; ]*;s=(\S+)/.exec(text)?.[1],
    ignition: valueOf("ignition.config.url"),
  };
}

/** Documents in the order in which cloud-init asks for them (DataSourceNoCloud). */
const cloudInitDocuments = ["meta-data", "user-data", "vendor-data", "network-config"] as const;
/** wget and cloud-init ask again after a failure. */
const tries = 4;
const retryAfterMs = 1000;

/** Initramfs, then cloud-init, as far as the server sees them. @throws Stopped */
export async function bootOperatingSystem(
  station: Station,
  before: Ipv4,
  commandLine: string,
): Promise<void> {
  const { record, machine, plan } = station;
  const { root, callback, noCloud, ignition } = readCommandLine(commandLine);
  const { address } = await obtainLease(station, operatingSystem, { offer: "os-offer", ack: "os-ack" });
  if (address !== before)
    record.remark("the operating system got another address than its firmware", machine);
  const system = createSystem(station, address);
  try {
    await system.report(callback, "network");
    if (root !== undefined && plan.assets !== "none") {
      await system.report(callback, "rootfs");
      await system.loadRoot(root);
    }
    await system.report(callback, "switch-root");
    if (noCloud !== undefined)
      for (const name of cloudInitDocuments) await system.get("config", `${noCloud}${name}`);
    if (ignition !== undefined) await system.get("config", ignition);
    if (callback !== undefined)
      await system.ask("joined", { method: "POST", url: `${callback}/joined`, form: "", isKept: false });
  } finally {
    system.close();
  }
}

function createSystem(station: Station, address: Ipv4) {
  const { timeline, record, plan } = station;
  const http = createHttpClient(address);

  async function ask(phase: Phase, request: HttpRequest): Promise<HttpAnswer> {
    const beganMs = timeline.nowMs();
    for (let attempt = 1; ; attempt++) {
      let reason: string;
      try {
        const answer = await http.send(request);
        if (answer.status < 300) {
          record.took(phase, timeline.nowMs() - beganMs);
          return answer;
        }
        reason = `status ${answer.status}`;
      } catch (error) {
        if (!(error instanceof HttpFailed)) throw error;
        reason = error.message;
      }
      if (attempt === tries)
        throw new Stopped(
          phase,
          `${request.method} ${request.url.replace(/\/(callback|claims)\/[^/]+/, "/$1/...")}: ${reason}`,
        );
      record.repeated(phase);
      await timeline.sleep(retryAfterMs);
    }
  }

  return {
    ask,
    get: (phase: Phase, url: string) => ask(phase, { method: "GET", url, isKept: false }),
    async report(callback: string | undefined, step: string): Promise<void> {
      if (callback === undefined) return;
      await ask("report", { method: "POST", url: `${callback}/phase`, form: `step=${step}`, isKept: false });
    },
    /** In two parts, as a download that broke off goes on. */
    async loadRoot(url: string): Promise<void> {
      const head = await ask("root", { method: "HEAD", url, isKept: false });
      if (plan.assets === "head") return;
      const size = Number(head.headers.get("content-length"));
      const half = Math.floor(size / 2);
      const parts =
        size > 1
          ? ([
              [0, half - 1],
              [half, size - 1],
            ] as const)
          : ([[0, size - 1]] as const);
      for (const range of parts) {
        const { status, bodyBytes } = await ask("root", { method: "GET", url, range, isKept: false });
        if (status !== 206 || bodyBytes !== range[1] - range[0] + 1)
          throw new Stopped(
            "root",
            `a Range of ${range[1] - range[0] + 1} octets brought ${bodyBytes}, status ${status}`,
          );
      }
    },
    close: () => http.close(),
  };
}
