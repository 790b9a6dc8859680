import t from "tap";
import type { Rendering } from "../server/boot/boot-plan.ts";
import { createProofs } from "../server/boot/proofs.ts";
import type { Role } from "../server/domain/role.ts";
import type { Renderer } from "../server/render/documents.ts";
import { sampleMachine } from "./support/samples.ts";

const role: Role = {
  name: "worker",
  description: "",
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
  parameters: {},
  userDataParts: [],
  files: {},
  extends: undefined,
  inherited: {},
  templates: {},
  directory: "",
};
const machine = sampleMachine(1, { name: "s1" });
const asked: Omit<Rendering, "claim"> = {
  machine,
  plan: { kind: "role", role, params: { tokens: ["a"] }, image: undefined },
  serverUrl: "http://10.0.0.1:8080",
  bootId: "b_1",
  pollSeconds: 5,
  localBoot: "exit",
};

function setUp() {
  let rendered = 0;
  let fault: Error | undefined;
  const renderer = {
    document() {
      rendered++;
      if (fault) throw fault;
      return "";
    },
    ignition: () => undefined,
  } as unknown as Renderer;
  const proofs = createProofs(renderer);
  return {
    proofs,
    rendered: () => rendered,
    /** Whether documents are made anew. */
    isProvenAgain(rendering: Omit<Rendering, "claim">): boolean {
      const before = rendered;
      proofs.prove(rendering);
      return rendered > before;
    },
    breakWith: (error: Error | undefined) => void (fault = error),
  };
}

t.test("a machine that asks again costs no second reading", (t) => {
  const { proofs, rendered } = setUp();
  proofs.prove(asked);
  const once = rendered();
  t.ok(once > 0);
  proofs.prove(asked);
  proofs.prove({ ...asked, machine: { ...machine, lastSeenAt: 5, phase: "booting" } });
  t.equal(rendered(), once);
  t.end();
});

t.test("whatever a document is made of undoes the proof when it changes", (t) => {
  const { proofs, isProvenAgain } = setUp();
  const { plan } = asked;
  if (plan.kind !== "role") throw new Error("a role");
  const changes: Record<string, Partial<Rendering>> = {
    "a label": { machine: { ...machine, labels: { room: "225" } } },
    "its name": { machine: { ...machine, name: "s2" } },
    "its seat": { machine: { ...machine, seat: "A1" } },
    "the MAC it boots from": { machine: { ...machine, macs: ["52:54:00:00:00:99" as never] } },
    "the role's file": { plan: { ...plan, role: { ...role } } },
    "a parameter": { plan: { ...plan, params: { tokens: ["a", "b"] } } },
    "the boot": { bootId: "b_2" },
    "the server's address": { serverUrl: "http://10.0.1.1:8080" },
    "another machine": { machine: { ...machine, id: "m_other" } },
  };
  for (const [what, change] of Object.entries(changes)) {
    proofs.prove(asked);
    t.ok(isProvenAgain({ ...asked, ...change }), what);
  }
  t.end();
});

t.test("what could not be rendered is no proof, and takes the one before away", (t) => {
  const { proofs, breakWith, isProvenAgain } = setUp();
  proofs.prove(asked);
  breakWith(new Error("line 3"));
  t.throws(() => proofs.prove({ ...asked, bootId: "b_2" }), /line 3/);
  breakWith(undefined);
  t.ok(isProvenAgain(asked));
  t.end();
});
