import t from "tap";
import {
  type Assignment,
  describeTarget,
  type SelectionFacts,
  selectTarget,
} from "../server/domain/assignment.ts";
import {
  type Boot,
  type BootStepName,
  bootSteps,
  furthestStep,
  sameBootWindowMs,
  serverTimeMs,
  startsNewBoot,
} from "../server/domain/boot.ts";
import {
  type Claim,
  claimLifetimeMs,
  judgeClaim,
  maximumFetchesPerDocument,
  reportWindowMs,
} from "../server/domain/claim.ts";
import { firmwareByCode, firmwares } from "../server/domain/firmware.ts";
import { advance, type LifecycleEvent, machineLifecycle } from "../server/domain/machine-lifecycle.ts";
import { type Phase, phases } from "../server/domain/machine.ts";
import { resolveParameters, type Role } from "../server/domain/role.ts";
import type { Ipv4 } from "../server/net/ipv4.ts";
import type { Mac } from "../server/net/mac.ts";

const now = Date.UTC(2026, 0, 2, 3, 4, 5);

t.test("the life of a machine", (t) => {
  const events = [
    ...new Set(Object.values(machineLifecycle).flatMap((row) => Object.keys(row))),
  ] as LifecycleEvent[];

  t.test("every phase can be reached from discovered, and leads only to phases", (t) => {
    const reached = new Set<Phase>(["discovered"]);
    for (const phase of reached) for (const next of Object.values(machineLifecycle[phase])) reached.add(next);
    t.same([...reached].sort(), [...phases].sort());
    t.same(Object.keys(machineLifecycle).sort(), [...phases].sort());
    t.end();
  });
  t.test("a boot that goes well passes the phases of the contract in order", (t) => {
    const story: LifecycleEvent[] = [
      "machine.accepted",
      "role.assigned",
      "netboot.begun",
      "kernel.requested",
      "config.served",
      "join.begun",
      "boot.completed",
    ];
    let phase: Phase = "discovered";
    const passed = story.map((event) => (phase = advance(phase, event) ?? phase));
    t.same(passed, ["accepted", "assigned", "netbooting", "booting", "configuring", "joining", "ready"]);
    t.equal(advance("configuring", "boot.completed"), "ready", "a role that joins nothing");
    t.end();
  });
  t.test(
    "a diskless machine may be switched on at any time: each phase but retired leads to netbooting",
    (t) => {
      for (const phase of phases) {
        const next = advance(phase, "netboot.begun");
        const expected = phase === "retired" || phase === "netbooting" ? undefined : "netbooting";
        t.equal(next, expected, phase);
      }
      t.end();
    },
  );
  t.test(
    "a late or repeated report changes nothing: kernel.requested never leads back from configuring",
    (t) => {
      for (const phase of ["configuring", "joining", "ready"] as const)
        for (const event of ["kernel.requested", "config.served"] as const)
          t.equal(advance(phase, event), undefined, `${phase} ${event}`);
      for (const phase of ["discovered", "accepted", "assigned", "retired"] as const)
        for (const event of ["boot.completed", "boot.failed", "boot.timed-out", "config.served"] as const)
          if (phase !== "assigned" || event !== "boot.timed-out")
            t.equal(advance(phase, event), undefined, `${phase} ${event}`);
      t.equal(advance("assigned", "boot.timed-out"), "lost", "who was switched on and never came");
      t.end();
    },
  );
  t.test("a machine that was given up may still arrive", (t) => {
    for (const phase of ["failed", "lost"] as const)
      t.equal(advance(phase, "boot.completed"), "ready", phase);
    t.end();
  });
  t.test("only a person brings a retired machine back", (t) => {
    for (const event of events)
      t.equal(advance("retired", event), event === "machine.accepted" ? "accepted" : undefined, event);
    t.end();
  });
  t.test("every phase but retired can be retired", (t) => {
    for (const phase of phases)
      if (phase !== "retired") t.equal(advance(phase, "machine.retired"), "retired", phase);
    t.end();
  });
  t.test("an event that keeps the phase is no change", (t) => {
    t.equal(advance("netbooting", "netboot.begun"), undefined);
    t.end();
  });
  t.end();
});

t.test("which role a machine gets", (t) => {
  const role = (name: string) => ({ kind: "role", role: name, params: {} }) as const;
  const assigned = (name: string, subject: Assignment["subject"], mode: Assignment["mode"]): Assignment => ({
    id: `as_${name}`,
    subject,
    target: role(name),
    mode,
    assignedAt: now,
    assignedBy: "olga",
  });
  const one = { kind: "machine", machineId: "m_s4" } as const;
  const everything: SelectionFacts = {
    once: assigned("rescue", one, "once"),
    machine: assigned("worker", one, "always"),
    group: assigned("desktop", { kind: "group", group: "lab225" }, "always"),
    defaultRole: "kiosk",
    unknownPolicy: "discover",
  };

  t.test("once before machine before group before default before the policy for unknown machines", (t) => {
    const order = [
      { without: {}, source: "once", target: "rescue" },
      { without: { once: undefined }, source: "machine", target: "worker" },
      { without: { once: undefined, machine: undefined }, source: "group", target: "desktop" },
      {
        without: { once: undefined, machine: undefined, group: undefined },
        source: "default",
        target: "kiosk",
      },
      {
        without: { once: undefined, machine: undefined, group: undefined, defaultRole: undefined },
        source: "unknown-policy",
        target: "discover",
      },
    ];
    for (const [index, { without, source, target }] of order.entries()) {
      const selection = selectTarget({ ...everything, ...without });
      t.equal(selection.source, source);
      t.equal(describeTarget(selection.target), target);
      t.same(
        selection.instead.map((other) => other.source),
        order.slice(index + 1).map((other) => other.source),
        "and what would hold instead, nearest first",
      );
    }
    t.end();
  });
  t.test("the answer says who decided it and when", (t) => {
    t.equal(selectTarget(everything).why, "assigned by olga on 2026-01-02 03:04 UTC, for one boot");
    t.equal(
      selectTarget({ ...everything, once: undefined, machine: undefined }).why,
      "its group lab225: assigned by olga on 2026-01-02 03:04 UTC",
    );
    t.end();
  });
  t.test("each policy for unknown machines has its role", (t) => {
    for (const [unknownPolicy, expected] of [
      ["ignore", "local"],
      ["discover", "discover"],
      ["local", "local"],
      ["menu", "menu"],
    ] as const) {
      const nothing = { once: undefined, machine: undefined, group: undefined, defaultRole: undefined };
      const selection = selectTarget({ ...nothing, unknownPolicy });
      t.equal(describeTarget(selection.target), expected, unknownPolicy);
      t.match(selection.why, new RegExp(`unknownMachines is ${unknownPolicy}`));
    }
    t.end();
  });
  t.test("a script of one's own is described by its address", (t) => {
    t.equal(describeTarget({ kind: "url", url: "http://10.0.0.9/x.ipxe" }), "http://10.0.0.9/x.ipxe");
    t.end();
  });
  t.end();
});

t.test("one boot or two", (t) => {
  const boot = (steps: readonly BootStepName[], facts: Partial<Boot> = {}): Boot => ({
    id: "b_1",
    machineId: "m_s4",
    mac: "52:54:00:00:00:01" as Mac,
    startedAt: now,
    endedAt: undefined,
    outcome: "running",
    target: undefined,
    phases: [],
    steps: steps.map((step, index) => ({ at: now + index, step, serverMs: 0.5, detail: {} })),
    verdict: undefined,
    ...facts,
  });

  t.test("the first word of firmware or iPXE begins a boot, that of an operating system does not", (t) => {
    for (const before of [undefined, boot([], { outcome: "ready" }), boot([], { outcome: "failed" })]) {
      t.equal(startsNewBoot(before, "firmware", now), true);
      t.equal(startsNewBoot(before, "ipxe", now), true);
      t.equal(startsNewBoot(before, "os", now), false);
    }
    t.end();
  });
  t.test("firmware that repeats its DISCOVER is still in the same boot (RFC 2131 s.4.1)", (t) => {
    for (const steps of [[], ["discover"], ["discover", "offer", "request"]] as const)
      t.equal(startsNewBoot(boot(steps), "firmware", now + 60_000), false, steps.join(" "));
    t.end();
  });
  t.test("firmware that speaks after it handed over was switched off and on", (t) => {
    for (const step of ["nbp", "ipxe-dhcp", "wait", "kernel", "callback", "failed"] as const)
      t.equal(startsNewBoot(boot(["discover", step]), "firmware", now + 2), true, step);
    t.end();
  });
  t.test("firmware that repeats itself for longer than the window was switched off and on", (t) => {
    const waiting = boot(["discover"]);
    t.equal(startsNewBoot(waiting, "firmware", now + sameBootWindowMs), false);
    t.equal(startsNewBoot(waiting, "firmware", now + sameBootWindowMs + 1), true);
    t.equal(
      startsNewBoot(boot([]), "firmware", now + sameBootWindowMs + 1),
      true,
      "from the start, without steps",
    );
    t.end();
  });
  t.test(
    "a kernel that could not be loaded is asked for again in the same boot, by way of the script",
    (t) => {
      t.equal(startsNewBoot(boot(["script", "kernel"]), "script", now + 1), false);
      t.equal(startsNewBoot(boot(["script", "kernel", "initrd"]), "script", now + 1), false);
      t.equal(
        startsNewBoot(boot(["script", "kernel", "network"]), "script", now + 1),
        true,
        "the initramfs spoke already",
      );
      t.equal(
        startsNewBoot(boot(["script", "kernel"]), "ipxe", now + 1),
        true,
        "iPXE's DHCP is a new power-on",
      );
      t.end();
    },
  );
  t.test("iPXE that waits for a role asks again in the same boot, for as long as it likes", (t) => {
    t.equal(startsNewBoot(boot(["nbp", "script", "wait"]), "ipxe", now + 24 * 3600_000), false);
    t.end();
  });
  t.test("iPXE that speaks after the kernel was loaded was switched off and on", (t) => {
    for (const step of ["kernel", "rootfs", "config", "callback"] as const)
      t.equal(startsNewBoot(boot(["nbp", step]), "ipxe", now + 2), true, step);
    t.end();
  });
  t.test("an operating system never begins a boot", (t) => {
    for (const step of bootSteps)
      t.equal(startsNewBoot(boot([step]), "os", now + 10 * sameBootWindowMs), false, step);
    t.end();
  });
  t.test("the furthest station counts, not the last one told", (t) => {
    t.equal(furthestStep(boot(["kernel", "nbp", "offer"])), "kernel");
    t.equal(furthestStep(boot([])), undefined);
    t.equal(startsNewBoot(boot(["kernel", "discover"]), "ipxe", now + 2), true);
    t.end();
  });
  t.test("the server's own time is the sum over the steps that it answered", (t) => {
    const told = boot(["offer", "script"]);
    const network = { at: now, step: "network", serverMs: undefined, detail: {} } as const;
    t.equal(serverTimeMs({ ...told, steps: [...told.steps, network] }), 1);
    t.end();
  });
  t.end();
});

t.test("claims", (t) => {
  const claim: Claim = {
    hash: "0".repeat(64),
    bootId: "b_1",
    machineId: "m_s4",
    mac: "52:54:00:00:00:01" as Mac,
    address: "10.0.0.11" as Ipv4,
    target: { kind: "role", role: "worker", params: {} },
    mintedAt: now,
    expiresAt: now + claimLifetimeMs,
    spentAt: undefined,
    assignmentId: undefined,
    fetches: {},
    image: undefined,
  };
  const config = { kind: "config", document: "user-data" } as const;
  const report = { kind: "report" } as const;

  t.test("the machine that it was minted for may fetch and report until it expires", (t) => {
    for (const use of [config, report]) {
      t.equal(judgeClaim(claim, "10.0.0.11", use, now), "ok");
      t.equal(judgeClaim(claim, "10.0.0.11", use, claim.expiresAt), "ok");
      t.equal(judgeClaim(claim, "10.0.0.11", use, claim.expiresAt + 1), "expired");
    }
    t.end();
  });
  t.test("another address gets nothing, whatever the claim is worth", (t) => {
    for (const use of [config, report])
      for (const facts of [{}, { spentAt: now }, { expiresAt: now - 1 }])
        for (const address of ["10.0.0.12", "", "10.0.0.11 ", "::ffff:10.0.0.11"])
          t.equal(judgeClaim({ ...claim, ...facts }, address, use, now), "wrong-address");
    t.end();
  });
  t.test("a claim that nobody minted is unknown", (t) => {
    t.equal(judgeClaim(undefined, "10.0.0.11", config, now), "unknown");
    t.end();
  });
  t.test("no config leaves under a claim that its callback spent; reports may repeat for a while", (t) => {
    const spent = { ...claim, spentAt: now + 1000 };
    t.equal(judgeClaim(spent, "10.0.0.11", config, now + 1000), "spent");
    t.equal(judgeClaim(spent, "10.0.0.11", report, now + 1000 + reportWindowMs), "ok");
    t.equal(judgeClaim(spent, "10.0.0.11", report, now + 1001 + reportWindowMs), "spent");
    t.end();
  });
  t.test("each document may be asked for again a few times, for itself", (t) => {
    const used = { ...claim, fetches: { "user-data": maximumFetchesPerDocument } };
    t.equal(judgeClaim(used, "10.0.0.11", config, now), "too-many-fetches");
    t.equal(judgeClaim(used, "10.0.0.11", { kind: "config", document: "meta-data" }, now), "ok");
    t.equal(judgeClaim(used, "10.0.0.11", report, now), "ok");
    const nearly = { ...claim, fetches: { "user-data": maximumFetchesPerDocument - 1 } };
    t.equal(judgeClaim(nearly, "10.0.0.11", config, now), "ok");
    t.end();
  });
  t.end();
});

t.test("parameters of roles", (t) => {
  const role: Role = {
    name: "kiosk",
    description: "d",
    boot: "wait",
    image: undefined,
    arguments: [],
    rollcallArguments: true,
    reports: true,
    arch: ["x86_64"],
    minimumRamBytes: undefined,
    joins: false,
    node: undefined,
    family: "debian",
    nodeRamBytes: undefined,
    parameters: {
      page: { type: "string", default: "http://a/", description: "d" },
      zoom: { type: "integer", default: 100, description: "d" },
      sound: { type: "boolean", default: false, description: "d" },
      keys: { type: "string[]", default: [], description: "d" },
    },
    templates: {},
    userDataParts: [],
    files: {},
    extends: undefined,
    inherited: {},
    directory: "/r",
  };

  t.test("what was assigned is laid over the defaults", (t) => {
    t.same(resolveParameters(role, {}), {
      values: { page: "http://a/", zoom: 100, sound: false, keys: [] },
    });
    t.same(resolveParameters(role, { zoom: 0, sound: true, keys: ["a"], page: "" }), {
      values: { page: "", zoom: 0, sound: true, keys: ["a"] },
    });
    t.end();
  });
  t.test("a value of another type is refused, and the answer says which one it must be", (t) => {
    const wrong: [string, readonly unknown[], string][] = [
      ["page", [1, null, undefined, ["a"], {}], "must be a text"],
      ["zoom", ["100", 1.5, NaN, Infinity, 2 ** 53, null], "must be a whole number"],
      ["sound", ["true", 0, null], "must be true or false"],
      ["keys", ["a", [1], [null], { 0: "a", length: 1 }], "must be a list of texts"],
    ];
    for (const [parameter, values, problem] of wrong)
      for (const value of values)
        t.same(
          resolveParameters(role, { [parameter]: value }),
          { parameter, problem },
          `${parameter} ${value}`,
        );
    t.end();
  });
  t.test("an unknown parameter is refused with the known ones, and so are names of the prototype", (t) => {
    for (const parameter of ["pages", "constructor", "toString", "__proto__"]) {
      const given = JSON.parse(`{ "${parameter}": "x" }`) as Record<string, unknown>;
      t.same(resolveParameters(role, given), {
        parameter,
        problem: "unknown; this role has: page, zoom, sound, keys",
      });
    }
    t.same(resolveParameters({ ...role, parameters: {} }, { a: 1 }), {
      parameter: "a",
      problem: "unknown; this role has: none",
    });
    t.end();
  });
  t.end();
});

t.test("the firmware of option 93 (RFC 4578 s.2.1, IANA processor architecture types)", (t) => {
  t.equal(firmwareByCode(0)?.name, "bios");
  t.equal(firmwareByCode(7)?.name, "uefi-x86_64");
  t.equal(firmwareByCode(9)?.name, "uefi-x86_64", "erratum 4625: 7 and 9 were swapped");
  t.equal(firmwareByCode(11)?.arch, "arm64");
  t.equal(firmwareByCode(16)?.kind, "uefi-http");
  t.equal(firmwareByCode(1), undefined, "a NEC PC-98 is none of ours");
  t.equal(new Set(firmwares.map(({ code }) => code)).size, firmwares.length, "each code once");
  t.end();
});
