/** Formats of lists that machines are imported from. */
export const listFormats = ["csv", "isc", "dnsmasq"] as const;
export type ListFormat = (typeof listFormats)[number];

/** One host as a list has it: texts as they are written, judged later. */
export interface ListedHost {
  /** Where it begins, from 1. */
  readonly line: number;
  readonly name?: string | undefined;
  readonly macs: readonly string[];
  readonly address?: string | undefined;
  readonly group?: string | undefined;
  readonly seat?: string | undefined;
  /** Of the seat: a number or letters (`2`, `B`). */
  readonly row?: string | undefined;
  readonly column?: string | undefined;
  readonly uuid?: string | undefined;
  readonly serial?: string | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export interface ListProblem {
  readonly line: number;
  /** In one clause. */
  readonly problem: string;
}

/** What a reader makes of a list. */
export interface HostList {
  readonly hosts: readonly ListedHost[];
  readonly problems: readonly ListProblem[];
  /** What is in the list and says nothing of a machine: its name and how often it came. */
  readonly ignored: ReadonlyMap<string, number>;
}

/** A list has so many machines at most: it becomes one transaction. */
export const maximumHosts = 5000;
/** So many problems are told; a file of another kind has one in each line. */
export const maximumProblems = 200;

/** Hosts, problems and what was left out, as a reader finds them. */
export function createHostList() {
  const hosts: ListedHost[] = [];
  const problems: ListProblem[] = [];
  const ignored = new Map<string, number>();
  return {
    hosts,
    problems,
    ignored,
    /** True when there are too many: the reader may stop. */
    get isFull(): boolean {
      return hosts.length > maximumHosts || problems.length >= maximumProblems;
    },
    host: (host: ListedHost) => void hosts.push(host),
    problem: (line: number, problem: string) => void problems.push({ line, problem }),
    ignore(what: string): void {
      const name = what.slice(0, 40);
      // Names come from the file: so many different ones tell nobody anything.
      if (ignored.size < 50 || ignored.has(name)) ignored.set(name, (ignored.get(name) ?? 0) + 1);
    },
  };
}
export type HostListDraft = ReturnType<typeof createHostList>;
