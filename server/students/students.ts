import type { DurationMs, EpochMs } from "../domain/capabilities.ts";
import {
  KubernetesObjectMissing,
  StudentLeaving,
  StudentNamesake,
  StudentNotFound,
  StudentNotReady,
  StudentsTooMany,
} from "../domain/error-catalogue.ts";
import {
  mostStudents,
  type Student,
  type StudentObjectStatus,
  type StudentStanding,
  type StudentToken,
  type StudentUsage,
} from "../domain/student.ts";
import { readStudentNames } from "../domain/student-name.ts";
import { studentObjects } from "../domain/student-objects.ts";
import type { Kubeconfig } from "../kubeadm/kubeconfig.ts";
import { formatKubeconfig } from "../kubeadm/kubeconfig.ts";
import type { StudentNamespaces } from "../kubernetes/student-namespaces.ts";
import { createStudentPass, type StudentPassDeps } from "./student-pass.ts";

export interface StudentsDeps extends StudentPassDeps {
  readonly namespaces: StudentNamespaces;
  /** What a kubeconfig says of the cluster. */
  readonly cluster: Pick<Kubeconfig, "clusterName" | "server" | "authorityPem">;
  /** Life of a token unless somebody says otherwise, s. */
  readonly tokenSeconds: number;
}

/** What came of one name. */
export interface StudentCreation {
  readonly asked: string;
  /** How the student is known; undefined where the name was refused. */
  readonly name: string | undefined;
  readonly result: "created" | "exists" | "refused";
  readonly reason: string | undefined;
  readonly suggestion: string | undefined;
}

export interface StudentStatus extends StudentStanding {
  readonly student: Student;
  /** Undefined: nobody could say. */
  readonly usage: StudentUsage | undefined;
}

export interface StudentDescription extends StudentStatus {
  /** Empty where no API server answers. */
  readonly objects: readonly StudentObjectStatus[];
  /** Tokens that were given, the newest first, and whether the cluster may still take them. */
  readonly tokens: readonly (StudentToken & { readonly isAlive: boolean })[];
}

export interface GivenToken {
  readonly name: string;
  /** Secrets, both. */
  readonly token: string;
  readonly kubeconfig: string;
  readonly expiresAt: EpochMs;
  /** The API server gave it for less than was asked for. */
  readonly isShortened: boolean;
}

/** A clock's step or the API server's may differ by so much without being told of as a shorter life, ms. */
const clockDifferenceMs: DurationMs = 60_000;

const asWritten = (text: string): string =>
  text.normalize("NFC").trim().replaceAll(/\s+/gu, " ").toLowerCase();
/** Does a name mean the student who has it already? As it was given then, or as it is known since. */
const isSamePerson = ({ name, asked }: Student, again: string): boolean =>
  asked === undefined || asWritten(again) === name || asWritten(again) === asWritten(asked);

export type Students = ReturnType<typeof createStudents>;

/** The students of this server. */
export function createStudents(deps: StudentsDeps) {
  const { clock, log, record, store, namespaces, rules } = deps;
  const pass = createStudentPass(deps);

  function find(name: string): Student {
    const student = store.find(name);
    if (!student) throw StudentNotFound({ student: name });
    return student;
  }

  /** What nobody can tell now is left out: the list is of use without it. */
  async function orNothing<T>(question: () => Promise<T>): Promise<T | undefined> {
    if (!pass.isUp) return undefined;
    return question().catch((error: unknown) => {
      log.warn({ err: error }, "the cluster did not tell of students");
      return undefined;
    });
  }

  /** `anna-2`: the first that nobody has. */
  function freeName(name: string): string {
    for (let count = 2; ; count++) {
      const free = `${name.slice(0, 58).replace(/-+$/, "")}-${count}`;
      if (!store.find(free)) return free;
    }
  }

  async function createOne(name: string, asked: string, by: string): Promise<StudentCreation> {
    let isNew = false;
    const known = await store.update(name, (before) => {
      if (before) return undefined;
      isNew = true;
      return { name, asked, createdAt: clock.now(), createdBy: by, isInCluster: false, leaving: undefined };
    });
    if (known && !isNew && !isSamePerson(known, asked)) {
      const other = known.asked ?? name;
      const { message, advice } = StudentNamesake({ asked, student: name, other });
      return {
        asked,
        name: undefined,
        result: "refused",
        reason: `${message}. ${advice}`,
        suggestion: freeName(name),
      };
    }
    if (known?.leaving) {
      const { message, advice } = StudentLeaving({ student: name });
      return {
        asked,
        name: undefined,
        result: "refused",
        reason: `${message}. ${advice}`,
        suggestion: undefined,
      };
    }
    if (isNew)
      record({
        type: "student.created",
        actor: by,
        message: `the student ${name} was created`,
        data: { student: name, asked },
      });
    return { asked, name, result: isNew ? "created" : "exists", reason: undefined, suggestion: undefined };
  }

  async function takeLeave(name: string, by: string): Promise<void> {
    await store.update(name, (known) =>
      known === undefined || known.leaving ? undefined : { ...known, leaving: { since: clock.now(), by } },
    );
    pass.beginAnew(name);
  }

  return {
    follow: pass.follow,
    settled: pass.settled,
    stop: pass.stop,

    /**
     * Makes students of names as they stand in a class list; those who are there already stay as they are.
     * @returns what came of each @throws StudentsTooMany, and then none is made
     */
    async create(asked: readonly string[], by: string): Promise<StudentCreation[]> {
      const readings = readStudentNames(asked);
      const newNames = readings.filter(({ name }) => name !== undefined && !store.find(name));
      if (store.count() + newNames.length > mostStudents) throw StudentsTooMany({ most: mostStudents });
      const made = await Promise.all(
        readings.map(async (reading) =>
          reading.name === undefined
            ? { ...reading, name: undefined, result: "refused" as const }
            : createOne(reading.name, reading.asked, by),
        ),
      );
      pass.start();
      return made;
    },

    /** All of them, with what of their shares is used where the cluster says so. */
    async list(): Promise<StudentStatus[]> {
      const usage = store.count() > 0 ? await orNothing(() => namespaces.usage()) : undefined;
      return store
        .all()
        .map((student) => ({ student, ...pass.standingOf(student), usage: usage?.get(student.name) }));
    },

    /** @throws StudentNotFound */
    status(name: string): Omit<StudentStatus, "usage"> {
      const student = find(name);
      return { student, ...pass.standingOf(student) };
    },

    /** @throws StudentNotFound */
    async describe(name: string): Promise<StudentDescription> {
      find(name);
      const [usage, objects] = await Promise.all([
        orNothing(() => namespaces.usage(name)),
        orNothing(() => namespaces.look(studentObjects(name, rules))),
      ]);
      const student = find(name);
      const tokens = store.tokensOf(name).map((token) => ({
        ...token,
        isAlive: clock.now() < token.expiresAt && token.generation === pass.generation,
      }));
      return {
        student,
        ...pass.standingOf(student),
        usage: usage?.get(name),
        objects: objects ?? [],
        tokens,
      };
    },

    /**
     * Takes a student out of the cluster with all that is in the namespace; the row goes when nothing is left. Again does no harm.
     * @throws StudentNotFound
     */
    async remove(name: string, by: string): Promise<void> {
      find(name);
      await takeLeave(name, by);
    },

    /** Takes out all who were made until then. Again does no harm. @returns names of those who are still there; none at last */
    async removeAll(by: string, createdUntil: EpochMs): Promise<string[]> {
      const those = () => store.all().filter(({ createdAt }) => createdAt <= createdUntil);
      await Promise.all(those().flatMap(({ name, leaving }) => (leaving ? [] : [takeLeave(name, by)])));
      return those().map(({ name }) => name);
    },

    /**
     * A token of the student's account, in the answer and nowhere else.
     * @param seconds undefined: as the config says @throws StudentNotFound, StudentNotReady, StudentLeaving; what the API server answers
     */
    async issueToken(name: string, seconds: number | undefined, by: string): Promise<GivenToken> {
      const student = find(name);
      const { state, problem } = pass.standingOf(student);
      if (state === "leaving") throw StudentLeaving({ student: name });
      if (state !== "ready") throw StudentNotReady({ student: name, reason: problem ?? "it is being made" });
      const issuedAt = clock.now();
      const { generation } = pass;
      const asked = seconds ?? deps.tokenSeconds;
      const { token, expiresAt } = await namespaces.issueToken(name, asked).catch((error: unknown) => {
        // Somebody removed the account since it was looked at last.
        if (KubernetesObjectMissing.is(error)) pass.beginAnew(name);
        throw error;
      });
      await store.noteToken(name, { issuedAt, expiresAt, issuedBy: by, generation });
      record({
        type: "student.token",
        actor: by,
        message: `${name} got a token, good until ${new Date(expiresAt).toISOString()}`,
        data: { student: name, expiresAt: new Date(expiresAt).toISOString() },
      });
      const kubeconfig = formatKubeconfig({ ...deps.cluster, user: { name, token }, namespace: name });
      return {
        name,
        token,
        kubeconfig,
        expiresAt,
        isShortened: expiresAt < issuedAt + asked * 1000 - clockDifferenceMs,
      };
    },
  };
}
