import t from "tap";
import { type Ending, type Effect, IpxeScript } from "../server/simulate/ipxe-script.ts";
import { createLine } from "../server/simulate/line.ts";
import { parseCidr } from "../server/net/cidr.ts";
import { readPlan, SimulationInvalid, type SimulationOptions } from "../server/simulate/plan.ts";
import { profileNames } from "../server/simulate/profiles.ts";
import { seededRandom } from "../server/simulate/random.ts";
import { percentilesOf, shortOfGoal } from "../server/simulate/report.ts";
import { createTimeline } from "../server/simulate/timeline.ts";
import { ManualClock } from "./support/manual-clock.ts";

const options: SimulationOptions = {
  machines: 50,
  withinSeconds: 10,
  profiles: [],
  servers: ["10.0.0.1"],
  device: undefined,
  network: "10.50.0.0/16",
  ownNetworks: [],
  relay: undefined,
  goal: undefined,
  assets: "head",
  loss: 0.1,
  duplicate: 0.1,
  reorder: 0.1,
  seed: 7,
  speed: 1,
  attempts: 3,
  limitSeconds: 600,
  first: 1,
  dhcpPort: 67,
  pxePort: 4011,
  tftpPort: 69,
};

t.test("the same seed plans the same machines, another seed others", (t) => {
  t.same(readPlan(options), readPlan(options));
  t.notSame(readPlan({ ...options, seed: 8 }).machines, readPlan(options).machines);
  const played = new Set(readPlan(options).machines.map(({ profile }) => profile));
  t.same(
    [...played].sort(),
    profileNames.filter((name) => name !== "os").sort(),
    "all firmwares are in the mix",
  );
  t.equal(readPlan(options).goal, "joined");
  t.equal(readPlan({ ...options, device: "eth9", network: undefined }).goal, "address");
  t.end();
});

t.test("what can't be meant is refused with the option's name", (t) => {
  const refused = (change: Partial<SimulationOptions>, pattern: RegExp) =>
    t.throws(() => readPlan({ ...options, ...change }), { constructor: SimulationInvalid, message: pattern });
  refused({ servers: [] }, /--server/);
  refused({ network: undefined }, /--network 10\.50\.0\.0\/16 .*--device/);
  refused({ network: "10.0.0.0/8" }, /inside --network/);
  refused({ profiles: ["bios", "amiga"] }, /--profile amiga: there are bios, uefi/);
  refused({ loss: 5 }, /--loss 5: from 0 to 1/);
  refused({ tftpPort: 70_000 }, /--tftp-port 70000: from 1 to 65535/);
  refused({ first: 16_777_216 }, /--first 16777216: from 0 to/);
  refused({ goal: "moon" }, /--until moon/);
  refused({ withinSeconds: 1e12 }, /--within 1000000000000: from 0 to 86400/);
  refused({ limitSeconds: 1e12 }, /--limit 1000000000000: from 0\.001 to 86400/);
  for (const network of ["0.0.0.0/0", "0.0.0.0/8", "224.0.0.0/8", "10.0.0.0/7", "10.50.0.1/16"])
    refused({ network }, /is no network of a room such as/);
  refused({ network: "10.50.0.0/29" }, /room for 5 machines beside the relay agent, and --machines is 50/);
  refused({ network: "10.50.0.0/32" }, /room for 0 machines/);
  for (const server of ["0.0.0.0", "255.255.255.255", "boot.example"])
    refused({ servers: [server] }, /--server \S+ is no IPv4 address of a host/);
  t.end();
});

t.test("a network that this host stands in itself is not made local to it", (t) => {
  const ownNetworks = ["10.50.3.0/24", "192.168.0.0/16", "10.51.0.1/32"]
    .map((text) => parseCidr(text))
    .filter((one) => !!one);
  const plan = (network: string) => () => readPlan({ ...options, network, ownNetworks });
  t.throws(plan("10.50.0.0/16"), { message: /this host's own network 10\.50\.3\.0\/24/ });
  t.throws(plan("192.168.7.0/24"), { message: /own network 192\.168\.0\.0\/16/ });
  t.doesNotThrow(plan("10.51.0.0/16"), "an address alone is local already");
  t.end();
});

t.test("a machine that failed, and one that waits for a role, is not where it was to go", (t) => {
  t.equal(shortOfGoal({ failed: 0, arrived: { joined: 3, local: 1 } }), 0);
  t.equal(shortOfGoal({ failed: 1, arrived: { joined: 3, waiting: 2 } }), 3);
  t.end();
});

t.test("a cable loses, doubles and delays the same datagrams with the same seed", (t) => {
  const play = (seed: number) => {
    const clock = new ManualClock(0);
    const counts = { passed: 0, lost: 0, blocked: 0, duplicated: 0, delayed: 0 };
    const line = createLine(
      { loss: 0.2, duplicate: 0.2, reorder: 0.2 },
      seededRandom(seed),
      createTimeline(clock, 1),
      counts,
    );
    const heard: number[] = [];
    for (let number = 0; number < 200; number++) line.carry(() => heard.push(number));
    clock.advanceMs(1000);
    return { heard, counts };
  };
  t.same(play(1), play(1));
  t.notSame(play(1).heard, play(2).heard);
  const { lost, duplicated, delayed } = play(1).counts;
  for (const [name, count] of Object.entries({ lost, duplicated, delayed }))
    t.ok(count > 15 && count < 75, `${count} ${name} of 200`);
  t.end();
});

t.test("what is sent to a switch port that still blocks is counted as blocked, never as lost", (t) => {
  const clock = new ManualClock(0);
  const counts = { passed: 0, lost: 0, blocked: 0, duplicated: 0, delayed: 0 };
  const none = { loss: 0, duplicate: 0, reorder: 0 };
  const line = createLine(none, seededRandom(1), createTimeline(clock, 1), counts);
  line.block(30_000);
  line.carry(() => t.fail("nothing passes yet"));
  clock.advanceMs(30_000);
  let heard = 0;
  line.carry(() => heard++);
  t.equal(heard, 1);
  t.match(counts, { passed: 1, lost: 0, blocked: 1 });
  t.end();
});

t.test("percentiles are values that were measured (nearest rank)", (t) => {
  const values = Array.from({ length: 200 }, (_, index) => 200 - index);
  t.same(percentilesOf(values), { count: 200, p50Ms: 100, p90Ms: 180, p99Ms: 198, maxMs: 200 });
  t.same(percentilesOf([3]), { count: 1, p50Ms: 3, p90Ms: 3, p99Ms: 3, maxMs: 3 });
  t.end();
});

/** Runs a script; what is loaded succeeds unless its address has "broken" in it. */
function runScript(
  text: string,
  lacks: readonly string[] = [],
): { effects: Effect[]; ending: Ending; screen: string[] } {
  const script = new IpxeScript(
    `#!ipxe\n${text}`,
    new Map([
      ["netX/mac", "02:53:49:00:00:01"],
      ["serial", "A B"],
    ]),
    new Set(lacks),
  );
  const effects: Effect[] = [];
  const run = script.run();
  let turn = run.next();
  while (!turn.done) {
    const effect = turn.value;
    effects.push(effect);
    turn = run.next(!("url" in effect && effect.url.includes("broken")));
  }
  return { effects, ending: turn.value, screen: script.screen };
}

t.test("an iPXE script is obeyed: settings, labels, || after a failure, waits", (t) => {
  const image = runScript(
    "kernel http://s/k initrd=i --a=b || goto again\ninitrd --name i http://s/i || goto again\nboot || goto again\n:again\nsleep 5",
  );
  t.same(image.ending, { kind: "boot", commandLine: "initrd=i --a=b" });
  t.same(
    image.effects.map((effect) => ("url" in effect ? effect.url : effect.kind)),
    ["http://s/k", "http://s/i", "boot"],
  );
  const retried = runScript(
    ":a\nchain http://broken/${netX/mac:hexhyp}?s=${serial:uristring} ||\nsleep 3\nchain http://s/next",
  );
  t.same(retried.effects, [
    { kind: "chain", url: "http://broken/02-53-49-00-00-01?s=A%20B" },
    { kind: "sleep", seconds: 3 },
    { kind: "chain", url: "http://s/next" },
  ]);
  t.match(runScript("kernel http://broken/k").ending, { kind: "error", reason: /kernel/ });
  t.match(runScript("nosuch || echo it goes on\nexit 1"), {
    ending: { kind: "exit", status: 1 },
    screen: ["nosuch: command not found", "it goes on"],
  });
  t.match(runScript("iflinkwait\nexit 1", ["iflinkwait"]).ending, { kind: "error", reason: /iflinkwait/ });
  t.match(runScript("iflinkwait ||\nexit 1", ["iflinkwait"]).ending, { kind: "exit", status: 1 });
  t.match(runScript(":a\ngoto a").ending, { kind: "error", reason: /circles/ });
  t.end();
});
