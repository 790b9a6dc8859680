import { join, resolve } from "node:path";
import { mock } from "node:test";
import t from "tap";
import type { LiveMessages } from "../../server/http/api/live-messages.ts";

/** What a browser has, as far as the stream of the page uses it. */
class FakeSource extends EventTarget {
  static readonly all: FakeSource[] = [];
  isClosed = false;
  constructor() {
    super();
    FakeSource.all.push(this);
  }
  static open = (): FakeSource[] => FakeSource.all.filter(({ isClosed }) => !isClosed);
  close(): void {
    this.isClosed = true;
  }
  tell<Name extends keyof LiveMessages>(name: Name, message: LiveMessages[Name]): void {
    this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(message) }));
  }
}
/** The pages' modules are checked with a browser's types, this one with Node's. */
const pages = resolve(import.meta.dirname, "../../server/web");
interface LiveModule {
  readonly connection: { peek(): { readonly state: string } };
  watchLive(): () => void;
}
interface SessionModule {
  readonly session: { peek(): unknown };
  learnSession(): Promise<void>;
}

const at = "2026-01-01T00:00:00.000Z";
const nothing = { at, machines: [], groups: [], operations: [] };
const reader = () => Response.json({ name: "vera", scope: "viewer", rooms: null, expiresAt: null });
const turn = () => new Promise((resolve) => setImmediate(resolve));

t.test("the stream of a page", async (t) => {
  const page = Object.assign(new EventTarget(), { hidden: false });
  let answer = (): Promise<Response> => Promise.resolve(reader());
  Object.assign(globalThis, { document: page, EventSource: FakeSource, fetch: () => answer() });
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  t.teardown(() => mock.timers.reset());
  const { connection, watchLive } = (await import(join(pages, "live.ts"))) as LiveModule;
  const { learnSession, session } = (await import(join(pages, "session.ts"))) as SessionModule;
  const look = (hidden: boolean) => {
    page.hidden = hidden;
    page.dispatchEvent(new Event("visibilitychange"));
  };

  t.test("a server that does not answer at first is asked again who reads", async (t) => {
    answer = () => Promise.reject(new TypeError("no network"));
    const known = learnSession();
    for (let tick = 0; tick < 5; tick++) await turn();
    t.equal(session.peek(), "unknown");
    answer = () => Promise.resolve(reader());
    mock.timers.tick(2000);
    await known;
    t.match(session.peek(), { name: "vera" });
  });

  t.test("is one, also where the page rested while it asked for its session", async (t) => {
    const end = watchLive();
    FakeSource.open()[0]?.dispatchEvent(new Event("error"));
    const asked = Promise.withResolvers<Response>();
    answer = () => asked.promise;
    mock.timers.tick(500);
    look(true);
    mock.timers.tick(30_000);
    asked.resolve(reader());
    for (let tick = 0; tick < 5; tick++) await turn();
    t.equal(FakeSource.open().length, 0, "nobody looks");
    look(false);
    t.equal(FakeSource.open().length, 1);
    end();
    t.equal(FakeSource.open().length, 0);
  });

  t.test("is opened anew when nothing is heard, and is taken for alive while there are beats", async (t) => {
    answer = () => Promise.resolve(reader());
    const end = watchLive();
    const [source] = FakeSource.open();
    source?.tell("snapshot", nothing);
    for (let beat = 0; beat < 4; beat++) {
      mock.timers.tick(15_000);
      source?.tell("beat", { at });
    }
    t.equal(connection.peek().state, "live");
    mock.timers.tick(50_000);
    t.equal(connection.peek().state, "lost", "the server is gone, and no error was told");
    t.ok(source?.isClosed);
    mock.timers.tick(500);
    for (let tick = 0; tick < 5; tick++) await turn();
    t.equal(FakeSource.open().length, 1);
    end();
  });
});
