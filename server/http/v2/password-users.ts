import { createHash, createHmac, randomBytes } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { LRUCache } from "lru-cache";
import type { Clock, DurationMs, Log } from "../../domain/capabilities.ts";
import { OciError } from "../../registry/oci-error.ts";
import type { Account, Login, PasswordUsers } from "./access.ts";
import { type Htpasswd, parseHtpasswd, type PasswordEntry } from "./htpasswd.ts";

export interface PasswordUserDeps {
  readonly clock: Pick<Clock, "now">;
  readonly log: Pick<Log, "warn">;
  /** `registry.htpasswdFile` */
  readonly file: string;
  /** Users who may change some repositories alone; the others all. */
  readonly bound: readonly { readonly name: string; readonly repositories: readonly string[] }[];
  /** One at a time; takes tens of milliseconds. */
  readonly compare: (password: string, hash: string) => Promise<boolean>;
}

/** A password that was right is not computed again for so long; every request of a push shows it. */
export const rememberedMs: DurationMs = 5 * 60_000;
const rememberedLogins = 1000;
/** Comparisons that wait, all together and of one address: who floods waits for himself. */
const mostWaiting = 64;
const mostWaitingOfOne = 4;
const longestFile = 1024 * 1024;
/** What a line has before anybody is in the file. */
const usualCost = 5;
const nothing: Htpasswd = { entries: new Map(), problems: [] };

/** Users of an htpasswd file. */
export function createPasswordUsers(deps: PasswordUserDeps): PasswordUsers {
  const { clock, log, file, bound, compare } = deps;
  const key = randomBytes(32);
  const right = new LRUCache<string, number>({ max: rememberedLogins });
  const underWay = new Map<string, Promise<boolean>>();
  const waiting = new Map<string, number>();
  let turn: Promise<unknown> = Promise.resolve();
  let stamp = "";
  let known = nothing;

  /** As the file is now: looked at for each login, read when it changed. */
  function read(): Htpasswd {
    const facts = statSync(file, { bigint: true, throwIfNoEntry: false });
    const now = facts ? `${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}` : "none";
    if (now === stamp) return known;
    stamp = now;
    try {
      if (facts && facts.size > longestFile) throw new Error(`it has more than ${longestFile} octets`);
      known = parseHtpasswd(readFileSync(file, "utf8"));
    } catch (error) {
      // Nobody logs in by a file that is not there.
      known = nothing;
      log.warn({ file, err: error }, "failed to read the users of the registry (registry.htpasswdFile)");
    }
    for (const { line, message } of known.problems) log.warn({ file, line }, message);
    return known;
  }

  const hmac = (...texts: readonly string[]) =>
    createHmac("sha256", key).update(JSON.stringify(texts)).digest("hex");

  /** For a user who is not there, so that the time tells nobody who is: of a cost that one of the users has, always the same one. */
  function decoyFor(name: string, { entries }: Htpasswd): string {
    const costs = [...entries.values()].map(({ cost }) => cost);
    const cost = costs[Number.parseInt(hmac(name).slice(0, 8), 16) % costs.length] ?? usualCost;
    return `$2y$${String(cost).padStart(2, "0")}$${".".repeat(53)}`;
  }

  /** @throws OciError TOOMANYREQUESTS */
  async function compareInTurn(password: string, hash: string, address: string): Promise<boolean> {
    const ofOne = waiting.get(address) ?? 0;
    const all = [...waiting.values()].reduce((sum, count) => sum + count, 0);
    if (ofOne >= mostWaitingOfOne || all >= mostWaiting)
      throw new OciError("TOOMANYREQUESTS", "too many logins at once; try again in a moment", {
        headers: { "retry-after": "1" },
      });
    waiting.set(address, ofOne + 1);
    const mine = turn.then(() => compare(password, hash));
    turn = mine.catch(() => undefined);
    try {
      return await mine;
    } finally {
      const left = (waiting.get(address) ?? 1) - 1;
      if (left > 0) waiting.set(address, left);
      else waiting.delete(address);
    }
  }

  function accountOf({ name, hash }: PasswordEntry): Account {
    return {
      id: `user:${createHash("sha256").update(hash).digest("hex").slice(0, 16)}:${name}`,
      // No API token has a colon in its name.
      name: `htpasswd:${name}`,
      scope: "imagemaker",
      repositories: bound.find((user) => user.name === name)?.repositories,
    };
  }

  return {
    async verify({ user, secret }: Login, address: string): Promise<Account | undefined> {
      const before = read();
      const entry = before.entries.get(user);
      const hash = entry?.hash ?? decoyFor(user, before);
      const login = hmac(user, secret, hash);
      if (entry && (right.get(login) ?? 0) > clock.now()) return accountOf(entry);
      const answer = underWay.get(login) ?? compareInTurn(secret, hash, address);
      // A push asks for several blobs at once: they wait for one comparison.
      underWay.set(login, answer);
      const isRight = await answer.finally(() => underWay.delete(login));
      if (!entry || !isRight || read().entries.get(user)?.hash !== hash) return undefined;
      right.set(login, clock.now() + rememberedMs);
      return accountOf(entry);
    },

    find(id: string): Account | undefined {
      const [, name = ""] = /^user:[0-9a-f]+:(.*)$/s.exec(id) ?? [];
      const entry = read().entries.get(name);
      const account = entry && accountOf(entry);
      return account?.id === id ? account : undefined;
    },
  };
}
