import t from "tap";
import {
  BmcRefused,
  BmcUnreachable,
  HostKeyRefused,
  MachineUnreachable,
} from "../../server/domain/error-catalogue.ts";
import type { NewEvent } from "../../server/domain/event.ts";
import type { Machine, Phase } from "../../server/domain/machine.ts";
import type { PowerAction, PowerMethod, PowerState } from "../../server/domain/power.ts";
import type { PowerSettings } from "../../server/domain/power-settings.ts";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { createPower } from "../../server/power/power.ts";
import { createSshTargets } from "../../server/power/ssh-targets.ts";
import { ManualClock } from "../support/manual-clock.ts";

const endless = new AbortController().signal;
const machine = (phase: Phase = "ready", id = "m1") =>
  ({ id, name: "s4", macs: [], phase }) as unknown as Machine;

const unreachable = () => MachineUnreachable({ machine: "s4", address: "10.0.0.4", reason: "timed out" });
const boardSilent = () =>
  BmcUnreachable({ machine: "s4", method: "IPMI", address: "10.0.0.50", reason: "silent" });
const boardRefuses = () => BmcRefused({ machine: "s4", method: "IPMI", address: "10.0.0.50", reason: "no" });
const wrongKey = () => HostKeyRefused({ machine: "s4", address: "10.0.0.4" });

interface Play {
  readonly method?: PowerMethod;
  readonly knowsKey?: boolean;
  /** What each way throws, call by call; then it works. */
  readonly ssh?: readonly (() => Error)[];
  readonly board?: readonly ((() => Error) | undefined)[];
  readonly state?: PowerState;
  readonly backoffMs?: readonly number[];
}

function playing({ method, knowsKey = true, ssh = [], board = [], state = "on", backoffMs = [] }: Play = {}) {
  const clock = new ManualClock();
  const done: string[] = [];
  const events: NewEvent[] = [];
  const faults: Record<"ssh" | "board", ((() => Error) | undefined)[]> = { ssh: [...ssh], board: [...board] };
  const play = async (kind: keyof typeof faults, what: string): Promise<void> => {
    done.push(what);
    const fault = faults[kind].shift();
    if (fault) throw fault();
  };
  const none = {
    port: undefined,
    user: "admin",
    sealed: "x",
    certificate: undefined,
    authority: undefined,
    system: undefined,
    group: undefined,
  };
  const settings: PowerSettings | undefined = method && { ...none, method, address: "10.0.0.50" };
  const boardOf = (name: string) => ({
    status: async () => (await play("board", `${name} status`), state),
    act: async (_: unknown, action: PowerAction) => (
      await play("board", `${name} ${action}`),
      action === "off" ? ("off" as const) : ("on" as const)
    ),
  });
  const record = (event: NewEvent) => void events.push(event);
  const addressOf = () => "10.0.0.9" as Ipv4;
  const told = { bootId: "b1", hostKey: "ssh-ed25519 A", address: "10.0.0.4", user: "debian", toldAt: 0 };
  const power = createPower({
    clock,
    record,
    settings: { of: () => settings, passwordOf: async () => "secret" },
    targets: createSshTargets({
      record,
      settings: { of: () => settings },
      hostKeyOf: () => (knowsKey ? { ...told, commands: "orders" } : undefined),
      addressOf,
    }),
    addressOf,
    ssh: async ({ address, user }, order) => (await play("ssh", `ssh ${order} ${user}@${address}`), "done"),
    boards: { ipmi: boardOf("ipmi"), redfish: boardOf("redfish") },
    wake: async () => void done.push("wol"),
    backoffMs,
  });
  return { power, done, events, clock };
}

t.test(
  "a machine that runs is restarted and stopped by its own system, where it was last seen",
  async (t) => {
    const { power, done, events } = playing({ method: "ipmi" });
    t.strictSame(await power.act(machine(), "cycle", endless), { method: "ssh", state: "on" });
    t.strictSame(await power.act(machine("ready", "m2"), "off", endless), { method: "ssh", state: "off" });
    t.strictSame(done, ["ssh reboot debian@10.0.0.9", "ssh off debian@10.0.0.9"]);
    t.match(events, [
      { type: "machine.power", data: { action: "cycle", method: "ssh" } },
      { type: "machine.power" },
    ]);
  },
);

t.test("a board does what the system no longer does, and switches on", async (t) => {
  const { power, done } = playing({ method: "redfish", ssh: [unreachable, unreachable] });
  t.strictSame(await power.act(machine(), "cycle", endless), { method: "redfish", state: "on" });
  t.strictSame(await power.act(machine("ready", "m2"), "off", endless), { method: "redfish", state: "off" });
  t.strictSame(await power.act(machine(), "on", endless), { method: "redfish", state: "on" });
  t.strictSame(
    done.filter((one) => !one.startsWith("ssh")),
    ["redfish status", "redfish cycle", "redfish off", "redfish on"],
  );
});

t.test("who asks for the board first gets it, and the system where it fails", async (t) => {
  const { power, done } = playing({ method: "redfish" });
  const wishes = { prefersBoard: true };
  t.strictSame(await power.act(machine(), "cycle", endless, wishes), { method: "redfish", state: "on" });
  t.strictSame(done, ["redfish status", "redfish cycle"]);
  const without = playing({});
  t.match(await without.power.act(machine(), "cycle", endless, wishes), { method: "ssh" });
});

t.test(
  "without a board, Wake-on-LAN restarts what does not answer, and never what may be running",
  async (t) => {
    const dead = playing({ ssh: [unreachable] });
    t.strictSame(await dead.power.act(machine(), "cycle", endless), { method: "wol", state: "unknown" });
    const asleep = playing({ knowsKey: false });
    t.strictSame(await asleep.power.act(machine("assigned"), "cycle", endless), {
      method: "wol",
      state: "unknown",
    });
    const strange = playing({ knowsKey: false });
    await t.rejects(strange.power.act(machine("ready"), "cycle", endless), { code: "POWER_NOT_CONFIGURED" });
    const chosen = playing({ method: "ssh", knowsKey: false });
    await t.rejects(chosen.power.act(machine("ready"), "cycle", endless), { code: "HOST_KEY_UNKNOWN" });
    const refusing = playing({ ssh: [wrongKey] });
    await t.rejects(refusing.power.act(machine(), "cycle", endless), { code: "HOST_KEY_REFUSED" });
    const alone = playing({ method: "wol" });
    await t.rejects(alone.power.act(machine(), "cycle", endless), { code: "POWER_NOT_POSSIBLE" });
    await t.rejects(alone.power.act(machine("assigned", "m2"), "off", endless), {
      code: "POWER_NOT_POSSIBLE",
    });
    t.strictSame([...strange.done, ...refusing.done, ...alone.done], ["ssh reboot debian@10.0.0.9"]);
    t.strictSame(await alone.power.act(machine(), "on", endless), { method: "wol", state: "unknown" });
  },
);

t.test("another host key is an alarm, also where the board does the order then", async (t) => {
  const { power, events } = playing({ method: "ipmi", ssh: [wrongKey] });
  t.strictSame(await power.act(machine(), "cycle", endless), { method: "ipmi", state: "on" });
  t.match(events, [{ type: "machine.host-key", level: "alarm", machineId: "m1" }, { type: "machine.power" }]);
});

t.test("an order that nobody did says what was tried and why each failed", async (t) => {
  const { power, events } = playing({ method: "ipmi", ssh: [unreachable], board: [boardRefuses] });
  await t.rejects(power.act(machine(), "off", endless), {
    code: "POWER_FAILED",
    message: /ssh: s4 does not answer SSH at 10.0.0.4: timed out; ipmi: the board of s4 .* refuses/,
  });
  t.match(events, [{ type: "machine.power", level: "warning", data: { code: "POWER_FAILED" } }]);
});

t.test("what does not answer is tried again after a while; what refuses is not", async (t) => {
  const { power, done, clock } = playing({
    method: "ipmi",
    board: [boardSilent, boardSilent],
    backoffMs: [1000, 3000],
  });
  const order = power.act(machine(), "on", endless);
  for (const delayMs of [1000, 3000]) {
    await new Promise(setImmediate);
    clock.advanceMs(delayMs);
  }
  t.strictSame(await order, { method: "ipmi", state: "on" });
  t.strictSame(done, ["ipmi on", "ipmi on", "ipmi on"]);
  const refused = playing({ method: "ipmi", board: [boardRefuses], backoffMs: [1000] });
  t.strictSame(await refused.power.act(machine(), "on", endless), { method: "wol", state: "unknown" });
  t.strictSame(refused.done, ["ipmi on", "wol"]);
});

t.test("an order to restart whose answer is lost is not given twice to the board", async (t) => {
  const { power, done } = playing({
    method: "ipmi",
    knowsKey: false,
    board: [undefined, boardSilent],
    backoffMs: [0],
  });
  await t.rejects(power.act(machine(), "cycle", endless), { code: "POWER_FAILED" });
  t.strictSame(done, ["ipmi status", "ipmi cycle"]);
});

t.test("a machine is switched off or restarted once a minute, and what failed does not count", async (t) => {
  const { power, clock } = playing({ knowsKey: true, ssh: [wrongKey] });
  await t.rejects(power.act(machine(), "cycle", endless), { code: "HOST_KEY_REFUSED" });
  await power.act(machine(), "cycle", endless);
  await t.rejects(power.act(machine(), "off", endless), { code: "POWER_TOO_SOON" });
  await power.act(machine(), "on", endless);
  await power.act(machine("ready", "m2"), "cycle", endless);
  clock.advanceMs(60_000);
  await power.act(machine(), "off", endless);
});

t.test("sixteen orders are under way at once, and a cancelled one waits no longer", async (t) => {
  const clock = new ManualClock();
  let running = 0;
  const ends: (() => void)[] = [];
  const power = createPower({
    clock,
    record: () => undefined,
    settings: { of: () => undefined, passwordOf: async () => "" },
    targets: createSshTargets({
      record: () => undefined,
      settings: { of: () => undefined },
      hostKeyOf: () => undefined,
      addressOf: () => undefined,
    }),
    addressOf: () => undefined,
    ssh: async () => "done",
    boards: {} as never,
    wake: () =>
      new Promise((resolve) => {
        running += 1;
        ends.push(() => ((running -= 1), resolve()));
      }),
  });
  const orders = Array.from({ length: 20 }, (_, at) =>
    power.act(machine("assigned", `m${at}`), "on", endless),
  );
  const cancelled = new AbortController();
  const last = power.act(machine("assigned", "m99"), "on", cancelled.signal);
  await new Promise(setImmediate);
  t.equal(running, 16);
  cancelled.abort(new Error("cancelled"));
  await t.rejects(last, { message: "cancelled" });
  while (ends.length > 0) {
    ends.shift()?.();
    await new Promise(setImmediate);
    t.ok(running <= 16);
  }
  await Promise.all(orders);
});

t.test("the board tells the state, else an answer by SSH does; silence is not known", async (t) => {
  const board = playing({ method: "ipmi", state: "off" });
  t.strictSame(await board.power.status(machine(), endless), { method: "ipmi", state: "off" });
  const system = playing({ method: "ipmi", board: [boardSilent] });
  t.strictSame(await system.power.status(machine(), endless), { method: "ssh", state: "on" });
  const neither = playing({ method: "ipmi", board: [boardSilent], ssh: [unreachable] });
  await t.rejects(neither.power.status(machine(), endless), { code: "BMC_UNREACHABLE" });
  const silent = playing({ ssh: [unreachable] });
  t.strictSame(await silent.power.status(machine(), endless), { method: "ssh", state: "unknown" });
  const unknown = playing({ knowsKey: false });
  t.strictSame(await unknown.power.status(machine(), endless), { method: "wol", state: "unknown" });
});
