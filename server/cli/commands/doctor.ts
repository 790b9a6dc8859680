import type { Command } from "commander";
import { parseMac } from "../../net/mac.ts";
import { formatTable, safeText, type Table } from "../output.ts";
import type { Session } from "../session.ts";
import { machinesPath, type MachineView } from "./status.ts";

export interface DoctorView {
  readonly machine: string | null;
  readonly mac: string;
  readonly fine: boolean;
  readonly stoppedAt: string | null;
  readonly station: string | null;
  readonly diagnoses: readonly {
    readonly code: string;
    readonly certainty: "certain" | "probable" | "noted";
    readonly fine: boolean;
    readonly what: string;
    readonly evidence: readonly { readonly at: string; readonly what: string }[];
    readonly advice: readonly string[];
    readonly candidates: readonly { readonly code: string; readonly what: string; readonly tell: string }[];
  }[];
  readonly parts: readonly { readonly what: string; readonly ms: number; readonly medianMs: number | null }[];
}

/** Before the sentence of a diagnosis: how sure it is. */
const opening = { certain: "", probable: "Probably: ", noted: "Also: " } as const;
/** Machines that are asked for at the same time. */
const atOnce = 8;

function partsTable({ parts }: DoctorView): string {
  const seconds = (ms: number | null | undefined) => (ms == null ? "-" : (ms / 1000).toFixed(1));
  return formatTable({
    columns: ["seconds for", "here", "room's median"],
    rows: parts.map(({ what, ms, medianMs }) => [what, seconds(ms), seconds(medianMs)]),
    empty: "",
  });
}

function fullText(view: DoctorView): string {
  const name = view.machine ?? view.mac;
  const blocks = view.diagnoses.map(({ code, certainty, what, evidence, advice, candidates }) =>
    [
      `${opening[certainty]}${safeText(what)} [${code}]`,
      ...(candidates.length > 0 ? ["  It may be one of these:"] : []),
      ...candidates.flatMap((one) => [
        `  - ${safeText(one.what)} [${one.code}]`,
        `    To tell: ${safeText(one.tell)}`,
      ]),
      ...(evidence.length > 0 ? ["  Seen:"] : []),
      ...evidence.map(({ at, what: seen }) => `    ${at}  ${safeText(seen)}`),
      ...advice.map((text) => `  Do: ${safeText(text.replaceAll("NAME", name))}`),
      "",
    ].join("\n"),
  );
  const where = view.station === null ? "" : `, furthest: ${view.station} (${view.stoppedAt})`;
  return [
    `${safeText(name)}${view.machine === null ? "" : ` (${view.mac})`}${where}`,
    "",
    ...blocks,
    ...(view.parts.length > 0 ? [partsTable(view)] : []),
  ].join("\n");
}

function roomTable(views: readonly DoctorView[]): Table {
  return {
    columns: ["machine", "stopped at", "code", "why", "do"],
    rows: views.map(({ machine, mac, fine, stoppedAt, diagnoses: [first] }) => [
      machine ?? mac,
      fine ? "" : stoppedAt,
      first?.code,
      first && `${opening[first.certainty]}${first.what}`,
      fine ? "" : first?.advice[0]?.replaceAll("NAME", machine ?? mac),
    ]),
    empty: "No machine is in this set.",
  };
}

async function examine({ client }: Session, names: readonly string[]): Promise<DoctorView[]> {
  const views: DoctorView[] = [];
  for (let from = 0; from < names.length; from += atOnce)
    views.push(
      ...(await Promise.all(
        names
          .slice(from, from + atOnce)
          .map((name) => client.get<DoctorView>(`/machines/${encodeURIComponent(name)}/doctor`)),
      )),
    );
  return views;
}

export function doctorCommand(program: Command, open: () => Session): void {
  program
    .command("doctor <machines>")
    .description("why a machine did not boot: where it stopped, the evidence, what to do next")
    .addHelpText(
      "after",
      "\nExamples:\n  boot doctor s4\n  boot doctor lab225\n  boot doctor 52:54:00:00:00:04",
    )
    .action(async (hostSet: string) => {
      const session = open();
      // A MAC that was never seen is in no set, and all the more a question.
      const names = parseMac(hostSet)
        ? [hostSet]
        : (await session.client.list<MachineView>(machinesPath(hostSet))).map(({ name }) => name);
      const views = await examine(session, names);
      const [only] = views;
      if (views.length === 1 && only) session.show(only, () => fullText(only));
      else session.show(views, () => roomTable(views));
    });
}
