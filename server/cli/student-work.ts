import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { isStudentName } from "../domain/student-name.ts";
import { Refused } from "./client.ts";
import { transferProgress } from "./container-archives.ts";
import type { Session } from "./session.ts";

export interface StudentView {
  readonly name: string;
  readonly namespace: string;
  readonly state: string;
  readonly problem: string | null;
  /** Nothing happens before there is a cluster that answers, which may be tomorrow. */
  readonly waitsForCluster: boolean;
  readonly pods: string | null;
  readonly cpu: string | null;
  readonly memory: string | null;
}

export interface TokenView {
  readonly name: string;
  readonly namespace: string;
  readonly token: string;
  readonly kubeconfig: string;
  readonly expiresAt: string;
  readonly shortened: boolean;
}

/** Requests that are under way at the same time. */
const atOnce = 4;
const lookEveryMs = 500;

/** Does the work for each, a few at a time; the results stand in the order of the names. */
export async function forEach<T>(names: readonly string[], work: (name: string) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  const left = [...names.entries()];
  const takeTurns = async () => {
    for (let next = left.shift(); next; next = left.shift()) results[next[0]] = await work(next[1]);
  };
  await Promise.all(Array.from({ length: atOnce }, takeTurns));
  return results;
}

export const pathOfStudent = (name: string): string => `/students/${encodeURIComponent(name)}`;

/** What came of one, or why nothing did; what is wrong with the connection ends the whole command. */
export async function orReason<T>(
  work: () => Promise<T>,
): Promise<{ readonly value: T } | { readonly reason: string }> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!(error instanceof Refused) || /^TOKEN_|^SCOPE_|^NO_CLUSTER$/.test(error.code)) throw error;
    return { reason: `${error.code}: ${error.message} ${error.advice}`.trim() };
  }
}

/**
 * Looks at these students until all are settled, or the time is over. On a terminal it says how far they are; Ctrl-C ends the looking, and
 * the server goes on. @returns them as they are then; those who are gone are missing
 */
export async function untilSettled(
  session: Session,
  names: readonly string[],
  {
    isSettled,
    limitMs,
    goesOn,
  }: {
    readonly isSettled: (student: StudentView) => boolean;
    readonly limitMs: number;
    /** Said at Ctrl-C: how to see it again. */
    readonly goesOn: string;
  },
): Promise<ReadonlyMap<string, StudentView>> {
  const wanted = new Set(names);
  const progress = transferProgress();
  const stop = () => {
    process.stderr.write(`\n${goesOn}\n`);
    process.exit(1);
  };
  process.once("SIGINT", stop);
  const endMs = performance.now() + limitMs;
  try {
    for (;;) {
      const all = await session.client.list<StudentView>("/students");
      const found = new Map(all.filter(({ name }) => wanted.has(name)).map((one) => [one.name, one]));
      const open = [...found.values()].filter((student) => !isSettled(student));
      if (open.length === 0 || performance.now() > endMs) return found;
      const [first] = open;
      const problem = first?.problem ? `: ${first.problem}` : "";
      progress.show(
        `${wanted.size - open.length} of ${wanted.size}; ${first?.name} is ${first?.state}${problem}`.slice(
          0,
          150,
        ),
      );
      await pause(lookEveryMs);
    }
  } finally {
    progress.end();
    process.removeListener("SIGINT", stop);
  }
}

/** Asks for a token. @param hours undefined: as the server's config says */
export const askToken = (session: Session, name: string, hours: number | undefined): Promise<TokenView> =>
  session.client.post<TokenView>(
    `${pathOfStudent(name)}/tokens`,
    hours === undefined ? {} : { expiresInSeconds: Math.round(hours * 3600) },
  );

/** Writes `<directory>/<name>.kubeconfig`, which only its owner may read, in place of an earlier one. @returns its path */
export function writeKubeconfig(directory: string, { name, kubeconfig }: TokenView): string {
  // It becomes a path.
  if (!isStudentName(name)) throw new Error(`${JSON.stringify(name)} is no name of a file`);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${name}.kubeconfig`);
  const fresh = `${path}.new`;
  rmSync(fresh, { force: true });
  // A new file: an earlier one may be open to others, or be a link.
  writeFileSync(fresh, kubeconfig, { mode: 0o600, flag: "wx" });
  renameSync(fresh, path);
  return path;
}
