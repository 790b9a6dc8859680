import { type Command, InvalidArgumentError } from "commander";
import { longestTokenSeconds, shortestTokenSeconds } from "../../domain/student.ts";
import { formatTable, safeText } from "../output.ts";
import type { Session } from "../session.ts";
import { expandNames, knownNames } from "../student-names.ts";
import {
  askToken,
  forEach,
  orReason,
  pathOfStudent,
  type StudentView,
  untilSettled,
  writeKubeconfig,
} from "../student-work.ts";

interface CreationView {
  readonly asked: string;
  readonly name: string | null;
  readonly result: "created" | "exists" | "refused";
  readonly reason: string | null;
  readonly suggestion: string | null;
}

interface StudentDescriptionView extends StudentView {
  /** The name in the class list. */
  readonly asked: string | null;
  readonly createdAt: string;
  readonly createdBy: string;
  readonly objects: readonly { readonly object: string; readonly isThere: boolean }[];
  readonly quota: readonly { readonly resource: string; readonly used: string; readonly hard: string }[];
  readonly tokens: readonly {
    readonly issuedAt: string;
    readonly expiresAt: string;
    readonly issuedBy: string;
    readonly isAlive: boolean;
  }[];
}

/** What came of one student, as one line and as data. */
interface Outcome {
  readonly name: string;
  readonly isDone: boolean;
  readonly text: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Names in one request (API). */
const namesAtOnce = 500;
const defaultMinutes = 10;

function hours(text: string): number {
  const value = Number(text);
  const least = shortestTokenSeconds / 3600;
  if (!(value >= least - 1e-9 && value <= longestTokenSeconds / 3600))
    throw new InvalidArgumentError(
      `it must be a number of hours from 0.17 (10 minutes, Kubernetes gives none for less) to ${longestTokenSeconds / 3600}`,
    );
  return value;
}

function minutes(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= 1440))
    throw new InvalidArgumentError("it must be a number of minutes, at most 1440");
  return value;
}

/** One line for each on standard output; exit code 1 where one is not done. */
function tell(session: Session, outcomes: readonly Outcome[]): void {
  if (outcomes.some(({ isDone }) => !isDone)) process.exitCode = 1;
  session.show(
    outcomes.map(({ data }) => data),
    () => outcomes.map(({ text }) => `${safeText(text)}\n`).join(""),
  );
}

/** In a table standard output is for what came of it. */
const noteTo = (session: Session) => (text: string) => {
  if (session.format === "table") process.stderr.write(`${safeText(text)}\n`);
};

async function createAll(session: Session, words: readonly string[]): Promise<CreationView[]> {
  const names = expandNames(words, noteTo(session));
  const made: CreationView[] = [];
  for (let from = 0; from < names.length; from += namesAtOnce) {
    const { items } = await session.client.post<{ items: CreationView[] }>("/students", {
      names: names.slice(from, from + namesAtOnce),
    });
    made.push(...items);
  }
  return made;
}

function creationOutcome(view: CreationView, student: StudentView | undefined): Outcome {
  const { asked, name, result, reason, suggestion } = view;
  if (name === null) {
    const instead = suggestion === null ? "" : `; for example ${suggestion}`;
    return { name: asked, isDone: false, text: `${asked}: refused: ${reason}${instead}`, data: { ...view } };
  }
  const who = asked === name ? name : `${asked} -> ${name}`;
  const state = student?.state ?? "gone";
  const why = student?.problem ? ` (${student.problem})` : "";
  const was = result === "exists" ? "was there already, " : "";
  return {
    name,
    isDone: state === "ready" || student?.waitsForCluster === true,
    text: `${who}: ${was}${state}${why}`,
    data: { ...view, state, problem: student?.problem ?? null },
  };
}

/** Adds a kubeconfig's file to what came of each who is ready. */
async function withKubeconfigs(
  session: Session,
  outcomes: readonly Outcome[],
  { directory, life }: { readonly directory: string; readonly life: number | undefined },
): Promise<Outcome[]> {
  const files = await forEach(
    outcomes.map(({ name, data }) => (data["state"] === "ready" ? name : "")),
    async (name) => (name === "" ? undefined : orReason(() => askToken(session, name, life))),
  );
  return outcomes.map((outcome, index) => {
    const answer = files[index];
    if (!answer) {
      const missing = outcome.isDone
        ? "; no kubeconfig yet: boot student token --kubeconfigs writes it later"
        : "";
      return { ...outcome, isDone: false, text: outcome.text + missing };
    }
    if ("reason" in answer)
      return { ...outcome, isDone: false, text: `${outcome.text}; no kubeconfig: ${answer.reason}` };
    const path = writeKubeconfig(directory, answer.value);
    const { expiresAt, shortened } = answer.value;
    return {
      ...outcome,
      text: `${outcome.text}, ${path} until ${expiresAt}${shortened ? " (the cluster gives no longer ones)" : ""}`,
      data: { ...outcome.data, kubeconfig: path, expiresAt },
    };
  });
}

interface CreateOptions {
  readonly kubeconfigs?: string;
  readonly hours?: number;
  readonly timeout: number;
}

async function create(session: Session, words: readonly string[], options: CreateOptions): Promise<void> {
  const made = await createAll(session, words);
  const names = made.flatMap(({ name }) => name ?? []);
  const students = await untilSettled(session, names, {
    isSettled: ({ state, waitsForCluster }) => state !== "waiting" || waitsForCluster,
    limitMs: options.timeout * 60_000,
    goesOn: "The server goes on with it. boot student get shows how far it is.",
  });
  const outcomes = made.map((view) => creationOutcome(view, students.get(view.name ?? "")));
  tell(
    session,
    options.kubeconfigs === undefined
      ? outcomes
      : await withKubeconfigs(session, outcomes, { directory: options.kubeconfigs, life: options.hours }),
  );
}

async function remove(session: Session, words: readonly string[], timeout: number): Promise<void> {
  const names = knownNames(words);
  const asked = await forEach(names, (name) =>
    orReason(() => session.client.delete<{ state: string }>(pathOfStudent(name))),
  );
  const leaving = names.filter((_, index) => asked[index] && "value" in asked[index]);
  const left = await untilSettled(session, leaving, {
    isSettled: ({ state, waitsForCluster }) => state !== "leaving" || waitsForCluster,
    limitMs: timeout * 60_000,
    goesOn: "The server goes on with it. boot student get shows who is not gone yet.",
  });
  tell(
    session,
    names.map((name, index): Outcome => {
      const answer = asked[index];
      if (answer && "reason" in answer)
        return {
          name,
          isDone: false,
          text: answer.reason,
          data: { name, result: "refused", reason: answer.reason },
        };
      const student = left.get(name);
      if (!student)
        return {
          name,
          isDone: true,
          text: `${name}: deleted, and nothing is left`,
          data: { name, result: "deleted" },
        };
      const { problem, waitsForCluster } = student;
      return {
        name,
        isDone: waitsForCluster,
        text: `${name}: not gone yet: ${problem ?? "the namespace ends"}`,
        data: { name, result: "leaving", reason: problem },
      };
    }),
  );
}

interface TokenOptions {
  readonly hours?: number;
  readonly kubeconfig?: true;
  readonly kubeconfigs?: string;
}

async function giveTokens(session: Session, words: readonly string[], options: TokenOptions): Promise<void> {
  const names = knownNames(words);
  const answers = await forEach(names, (name) => orReason(() => askToken(session, name, options.hours)));
  tell(
    session,
    names.map((name, index): Outcome => {
      const answer = answers[index];
      if (!answer || "reason" in answer) {
        const reason = answer?.reason ?? "no answer";
        process.stderr.write(`${safeText(reason)}\n`);
        return { name, isDone: false, text: `${name}: no token`, data: { name, reason } };
      }
      const { value } = answer;
      const { expiresAt, shortened } = value;
      const life = `until ${expiresAt}${shortened ? " (the cluster gives no longer ones)" : ""}`;
      if (options.kubeconfigs === undefined)
        return { name, isDone: true, text: `${name} ${value.token} ${life}`, data: { ...value } };
      const path = writeKubeconfig(options.kubeconfigs, value);
      return {
        name,
        isDone: true,
        text: `${name}: ${path} ${life}`,
        data: { name, kubeconfig: path, expiresAt },
      };
    }),
  );
}

function describeText(student: StudentDescriptionView): string {
  const { name, asked, namespace, state, problem, createdAt, createdBy, objects, quota, tokens } = student;
  const missing = objects.filter(({ isThere }) => !isThere).map(({ object }) => object);
  const list = (table: Parameters<typeof formatTable>[0]) => formatTable(table);
  return [
    `${name}: ${state}${problem === null ? "" : ` (${safeText(problem)})`}`,
    `Namespace ${namespace}; ${asked === null || asked === name ? "" : `asked for as ${safeText(asked)}, `}created ${createdAt} by ${safeText(createdBy)}`,
    objects.length === 0
      ? "Objects: the cluster does not tell now"
      : `Objects: ${objects.map(({ object }) => object).join(", ")}${missing.length > 0 ? `\nMissing: ${missing.join(", ")}` : ""}`,
    "",
    list({
      columns: ["resource", "used", "of"],
      rows: quota.map(({ resource, used, hard }) => [resource, used, hard]),
      empty: "What is used of the share is not known now.",
    }),
    list({
      columns: ["token of", "until", "given by", "state"],
      rows: tokens.map(({ issuedAt, expiresAt, issuedBy, isAlive }) => [
        issuedAt,
        expiresAt,
        issuedBy,
        isAlive ? "good" : "over",
      ]),
      empty: `No token was given yet: boot student token ${name} --kubeconfig`,
    }),
  ].join("\n");
}

export function studentCommands(program: Command, open: () => Session): void {
  const student = program
    .command("student")
    .description("students of the cluster, each with a namespace and an account");

  student
    .command("create <names...>")
    .description("create students: names, or @FILE with a class list; those who are there stay as they are")
    .option("--kubeconfigs <dir>", "write a kubeconfig for each into this directory")
    .option("--hours <hours>", "life of the tokens in them; default: students.tokenHours", hours)
    .option("--timeout <minutes>", "how long the cluster is waited for", minutes, defaultMinutes)
    .addHelpText(
      "after",
      '\nExamples:\n  boot student create anna boris\n  boot student create "Łucja Żak" @group.txt --kubeconfigs ./kubeconfigs --hours 6',
    )
    .action((names: string[], options: CreateOptions) => create(open(), names, options));

  student
    .command("get [names...]")
    .description("all students or these, their pods and what of their shares is used")
    .addHelpText("after", "\nExample:\n  boot student get")
    .action(async (words: string[]) => {
      const session = open();
      const all = await session.client.list<StudentView>("/students");
      const wanted = words.length === 0 ? undefined : new Set(knownNames(words));
      const shown = all.filter(({ name }) => wanted?.has(name) ?? true);
      for (const name of wanted ?? [])
        if (!shown.some((one) => one.name === name)) {
          process.exitCode = 1;
          process.stderr.write(`${safeText(name)}: there is no such student\n`);
        }
      session.show(shown, () => ({
        columns: ["student", "namespace", "state", "pods", "cpu", "memory", "problem"],
        rows: shown.map(({ name, namespace, state, pods, cpu, memory, problem }) => [
          name,
          namespace,
          state,
          pods,
          cpu,
          memory,
          problem,
        ]),
        empty: "There is no student: boot student create NAME",
      }));
    });

  student
    .command("describe <name>")
    .description("one student: objects, what is used of each share, tokens that were given, problems")
    .addHelpText("after", "\nExample:\n  boot student describe anna")
    .action(async (word: string) => {
      const session = open();
      const [name = word] = knownNames([word]);
      const view = await session.client.get<StudentDescriptionView>(pathOfStudent(name));
      session.show(view, () => describeText(view));
    });

  student
    .command("delete <names...>")
    .description("delete students with all that is in their namespaces, and wait until nothing is left")
    .option("--timeout <minutes>", "how long that is waited for", minutes, defaultMinutes)
    .addHelpText("after", "\nExamples:\n  boot student delete anna\n  boot student delete @group.txt")
    .action((names: string[], options: { timeout: number }) => remove(open(), names, options.timeout));

  student
    .command("token <names...>")
    .description("give students a token of their accounts, which ends by itself; a secret, shown once")
    .option("--hours <hours>", "its life; default: students.tokenHours", hours)
    .option("--kubeconfig", "print a kubeconfig with it, of one student")
    .option("--kubeconfigs <dir>", "write a kubeconfig for each into this directory")
    .addHelpText(
      "after",
      "\nExamples:\n  umask 077; boot student token anna --hours 4 --kubeconfig > anna.kubeconfig\n  boot student token @group.txt --kubeconfigs ./kubeconfigs",
    )
    .action(async (names: string[], options: TokenOptions, command: Command) => {
      const session = open();
      if (!options.kubeconfig) return giveTokens(session, names, options);
      const [name = "", ...others] = knownNames(names);
      if (others.length > 0)
        command.error("error: --kubeconfig prints one; --kubeconfigs DIR writes one for each student");
      process.stdout.write((await askToken(session, name, options.hours)).kubeconfig);
    });
}
