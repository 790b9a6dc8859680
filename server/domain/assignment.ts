import type { EpochMs } from "./capabilities.ts";

/** Whoever uses the control socket: the administrator of the server's own machine, without a token. */
export const localActor = "local";

/** `anna`, the name of a token, or who it is that needs none. */
export function describeActor(actor: string): string {
  return actor === localActor ? "the server's administrator" : actor;
}

export type AssignmentMode = "always" | "once";

/** What was assigned: a role with parameters, or a script of the user's own. */
export type AssignedTarget =
  | {
      readonly kind: "role";
      readonly role: string;
      readonly params: Readonly<Record<string, unknown>>;
      /** The machine may try although its RAM seems too little. */
      readonly ramCheck?: "ignore";
    }
  | { readonly kind: "url"; readonly url: string };

/** One decision of a person: this machine, or this group, boots into that. */
export interface Assignment {
  readonly id: string;
  readonly subject:
    | { readonly kind: "machine"; readonly machineId: string }
    | { readonly kind: "group"; readonly group: string };
  readonly target: AssignedTarget;
  readonly mode: AssignmentMode;
  readonly assignedAt: EpochMs;
  /** Name of the token, or `localActor`. */
  readonly assignedBy: string;
}

/** One place in the assignments and what stood there before and after a change; undefined: nothing. */
export interface AssignmentChangeEntry {
  readonly subject: Assignment["subject"];
  readonly mode: AssignmentMode;
  readonly before: Assignment | undefined;
  readonly after: Assignment | undefined;
}

/** What one person changed at once: a host set assigned, a group released. It is taken back as a whole. */
export interface AssignmentChange {
  readonly id: string;
  readonly at: EpochMs;
  readonly actor: string;
  /** `s1, s2 -> worker` */
  readonly message: string;
  readonly entries: readonly AssignmentChangeEntry[];
}

/** A change as the history tells it; undone: somebody took it back. */
export interface PastChange extends Omit<AssignmentChange, "entries"> {
  readonly subjects: readonly Assignment["subject"][];
  readonly undoneAt: EpochMs | undefined;
  readonly undoneBy: string | undefined;
}

export type SelectionSource = "exam" | "once" | "machine" | "group" | "default" | "unknown-policy";

/** The answer to "what does this machine boot, and why?". */
export interface Selection {
  readonly target: AssignedTarget;
  readonly source: SelectionSource;
  readonly why: string;
  /** What would hold if this choice were not there, nearest first. */
  readonly instead: readonly { readonly target: AssignedTarget; readonly source: SelectionSource }[];
  readonly assignment: Assignment | undefined;
}

export type UnknownPolicy = "ignore" | "discover" | "local" | "menu";

export interface SelectionFacts {
  /** What the exam of its room makes it boot, and why. */
  readonly exam?: { readonly target: AssignedTarget; readonly why: string } | undefined;
  readonly once: Assignment | undefined;
  readonly machine: Assignment | undefined;
  readonly group: Assignment | undefined;
  readonly defaultRole: string | undefined;
  readonly unknownPolicy: UnknownPolicy;
}

/** The role that stands for each policy towards machines that nobody assigned. */
const policyRole: Readonly<Record<UnknownPolicy, string>> = {
  ignore: "local",
  discover: "discover",
  local: "local",
  menu: "menu",
};

function byPerson(assignment: Assignment): string {
  const when = new Date(assignment.assignedAt).toISOString().slice(0, 16).replace("T", " ");
  return `assigned by ${describeActor(assignment.assignedBy)} on ${when} UTC`;
}

/** exam > once > machine > group > default > policy for unknown machines. */
export function selectTarget(facts: SelectionFacts): Selection {
  const candidates: {
    target: AssignedTarget;
    source: SelectionSource;
    why: string;
    assignment?: Assignment;
  }[] = [];
  if (facts.exam) candidates.push({ ...facts.exam, source: "exam" });
  if (facts.once)
    candidates.push({
      target: facts.once.target,
      source: "once",
      why: `${byPerson(facts.once)}, for one boot`,
      assignment: facts.once,
    });
  if (facts.machine)
    candidates.push({
      target: facts.machine.target,
      source: "machine",
      why: byPerson(facts.machine),
      assignment: facts.machine,
    });
  if (facts.group && facts.group.subject.kind === "group")
    candidates.push({
      target: facts.group.target,
      source: "group",
      why: `its group ${facts.group.subject.group}: ${byPerson(facts.group)}`,
      assignment: facts.group,
    });
  if (facts.defaultRole)
    candidates.push({
      target: { kind: "role", role: facts.defaultRole, params: {} },
      source: "default",
      why: "the default role of the config (defaultRole)",
    });
  candidates.push({
    target: { kind: "role", role: policyRole[facts.unknownPolicy], params: {} },
    source: "unknown-policy",
    why: `nobody assigned it; unknownMachines is ${facts.unknownPolicy}`,
  });
  const [chosen, ...rest] = candidates;
  if (!chosen) throw new Error("unreachable: the policy is always a candidate");
  return {
    target: chosen.target,
    source: chosen.source,
    why: chosen.why,
    instead: rest.map(({ target, source }) => ({ target, source })),
    assignment: chosen.assignment,
  };
}

/** What would hold if the machine's room had no exam. */
export function withoutExam({ source, target, instead }: Selection): AssignedTarget {
  return source === "exam" ? (instead[0]?.target ?? target) : target;
}

/** `worker`, or the address of a script. */
export function describeTarget(target: AssignedTarget): string {
  return target.kind === "role" ? target.role : target.url;
}
