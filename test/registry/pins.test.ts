import { writeFileSync } from "node:fs";
import t from "tap";
import { loadConfig } from "../../server/config/load.ts";
import { keepPins } from "../../server/kept-pins.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { pinsIn, pinsInAny } from "../../server/registry/pins.ts";
import { boot } from "../support/boot-command.ts";
import { registryLab } from "../support/registry-lab.ts";

t.test("images that a text names are found by the registry's names", (t) => {
  const digest = `sha256:${"a".repeat(64)}`;
  const text = `podman run registry.local/p10/pause:3.9, then "registry.local:5000/kiosk@${digest}" and 10.0.0.1/a/b-c:v1_2.
    docker.io/library/x:1 notregistry.local/x:1 registry.local/{{params.image}}:2 registry.local/none`;
  t.same(pinsIn(text, ["registry.local", "10.0.0.1"], "role a"), [
    { repository: "p10/pause", reference: "3.9", by: "role a" },
    { repository: "kiosk", reference: digest, by: "role a" },
    { repository: "a/b-c", reference: "v1_2", by: "role a" },
  ]);
  t.same(
    pinsInAny(
      { texts: new Map([["a", `first\nregistry.local/p10/a:1@${digest}`]]) },
      ["registry.local"],
      "x",
    ),
    [
      { repository: "p10/a", reference: "1", by: "x" },
      { repository: "p10/a", reference: digest, by: "x" },
    ],
    "at the beginning of a line, and both of tag and digest",
  );
  t.same(pinsIn("registryXlocal/p10/a:1", ["registry.local"], "x"), []);
  t.end();
});

t.test("what kubeadm pulls from here is pinned, and what pods need beside it", (t) => {
  const settings = {
    "cluster.kubernetesVersion": "1.26.9",
    "cluster.imageRepository": "registry.local/c10f",
    "cluster.flannelImage": "registry.local/flannel/flannel:v0.26.7",
    "cluster.network": "flannel",
  };
  const { config } = loadConfig({
    defaultFiles: [],
    environment: {},
    overrides: Object.entries(settings).map(([key, value]) => ({ key, value, argument: "test" })),
  });
  const params = { image: "registry.local/lab/quiz:7" };
  const pins = keepPins({
    config,
    roles: () => ({ roles: new Map() }),
    store: {
      assignments: { all: () => [{ target: { kind: "role", role: "desktop", params } }] },
      registry: {
        findTag: () => "sha256:",
        findManifest: () => undefined,
        tagsOf: () => [],
        tagged: () => [],
      },
    } as unknown as Parameters<typeof keepPins>[0]["store"],
  });
  const by = (repository: string, tag: string) => pins.pinOf(repository, tag)?.by;
  t.equal(by("c10f/kube-apiserver", "v1.26.9"), "cluster.imageRepository");
  t.equal(by("c10f/kube-apiserver", "v1.26.8"), undefined);
  t.equal(by("c10f/etcd", "3.5.6-0"), "cluster.imageRepository");
  t.equal(by("c10f/pause", "3.9"), "cluster.pauseImage");
  t.equal(by("flannel/flannel", "v0.26.7"), "cluster.flannelImage");
  t.equal(by("lab/quiz", "7"), "an assignment of the role desktop");
  t.end();
});

t.test("what roles and the config name can't be deleted, and is never collected", async (t) => {
  let aheadMs = 0;
  const lab = await registryLab(t, {
    clock: {
      ...systemClock,
      now: () => systemClock.now() + aheadMs,
      // Roles are read anew once a second.
      monotonicMs: () => systemClock.monotonicMs() + aheadMs,
    },
    roles: {
      "kiosk/role.yaml": "description: a kiosk\nboot: script\ntemplates:\n  ipxe: kiosk.ipxe\n",
      "kiosk/kiosk.ipxe": "#!ipxe\n# runs hall.lab/kiosk/player:1.0\nexit\n",
    },
    settings: {
      "registry.aliases": ["hall.lab"],
      "registry.pins": ["p10/*:v1.26.9", "kept/*:stable-*"],
    },
  });
  const { server, image, push, pull, manifest } = lab;
  const pinned: [repository: string, tag: string, by: RegExp][] = [
    ["kiosk/player", "1.0", /role kiosk/],
    ["p10/kube-proxy", "v1.26.9", /registry\.pins/],
    ["kept/x", "stable-2", /registry\.pins/],
  ];
  for (const [repository, tag, by] of pinned)
    await t.test(`${repository}:${tag}`, async (t) => {
      const { manifest: made } = await image(repository, tag, `${repository}:${tag}`);
      for (const reference of [tag, made.digest]) {
        const refused = await push("DELETE", `/v2/${repository}/manifests/${reference}`);
        t.match(refused, { status: 409, code: "DENIED" });
        t.match(refused.text, by);
        t.ok(refused.text.includes(`${repository}:${tag}`));
      }
      t.equal((await manifest(repository, "other", made)).status, 201);
      t.equal(
        (await push("DELETE", `/v2/${repository}/manifests/other`)).status,
        202,
        "another tag of it may go",
      );
    });
  t.test("other tags go as ever, and what is not there is not found", async (t) => {
    await image("kiosk/player", "0.9");
    t.equal((await push("DELETE", "/v2/kiosk/player/manifests/0.9")).status, 202);
    t.equal((await push("DELETE", "/v2/p10/none/manifests/v1.26.9")).status, 404);
  });
  t.test("a role that names an image by its digest keeps it without a tag", async (t) => {
    const { manifest: made } = await image("by/digest", "1");
    const { manifest: free } = await image("by/digest", "2", "another");
    for (const tag of ["1", "2"])
      t.equal((await push("DELETE", `/v2/by/digest/manifests/${tag}`)).status, 202);
    const role = `#!ipxe\n# registry.local/by/digest@${made.digest}\nexit\n`;
    writeFileSync(`${server.rolesDir}/kiosk/kiosk.ipxe`, role);
    aheadMs += 3 * 3_600_000;
    t.match(await server.api("POST", "/registry/collect", { dryRun: true }), {
      status: 200,
      json: { pinned: [{ image: `by/digest@${made.digest}`, by: "role kiosk" }] },
    });
    t.equal((await server.api("POST", "/registry/collect", {})).status, 200);
    t.equal((await pull(`/v2/by/digest/manifests/${made.digest}`)).status, 200);
    t.equal((await pull(`/v2/by/digest/manifests/${free.digest}`)).status, 404);
    t.match(await push("DELETE", `/v2/by/digest/manifests/${made.digest}`), { status: 409 });
  });
  t.test("the dry run tells the pins", async (t) => {
    const told = await boot(["--data", server.dataDir, "registry", "collect", "--dry-run"]);
    t.match(told, { code: 0, out: /^p10\/kube-proxy:v1\.26\.9 is pinned by registry\.pins\.$/m });
  });
});
