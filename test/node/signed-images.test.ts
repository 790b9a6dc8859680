import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { overlayPrefix } from "../../server/node/emit-initrd.ts";
import { sampleImage } from "../support/oci-image.ts";
import { registryLab } from "../support/registry-lab.ts";
import { createGpg, payloadFor } from "../support/signing-lab.ts";

const settings = {
  "cluster.kubernetesVersion": "1.31.0",
  "cluster.endpoint": "10.0.0.1:6443",
  "cluster.loadBalancer": false,
  "https.port": 0,
};
const nobody = 65_534;

interface Outcome {
  readonly accepted: boolean;
  readonly said: string;
}

/** A server with a cluster and its registry, signers, and machines that boot as workers. */
async function lab(t: Test, more: Readonly<Record<string, unknown>> = {}) {
  const registry = await registryLab(t, { settings: { ...settings, ...more } });
  const { server } = registry;
  const gpg = createGpg(t);
  await server.addImage("1", "debian-node");
  // Outside of the checkout, and open to other users.
  const place = mkdtempSync(join(tmpdir(), "rollcall-images-"));
  chmodSync(place, 0o755);
  t.teardown(() => rmSync(place, { recursive: true, force: true }));
  let machines = 0;

  return {
    server,
    gpg,
    place,
    async addSigner(name: string, scopes: readonly string[] = ["registry.local"]): Promise<void> {
      await gpg.makeKey(name, "ed25519");
      const publicKey = (await gpg.exportKey(name)).toString("base64");
      const { status, text } = await server.api("POST", "/keys", { name, publicKey, scopes });
      if (status !== 201) throw new Error(text);
    },
    /** @returns its digest */
    async pushImage(repository: string): Promise<string> {
      const { config, layers, manifest } = sampleImage(place, repository);
      for (const blob of [config, ...layers]) await registry.blob(repository, blob);
      const { status, text } = await registry.manifest(repository, "1", manifest);
      if (status !== 201) throw new Error(text);
      return manifest.digest;
    },
    async sign(name: string, repository: string, digest: string): Promise<void> {
      const octets = await gpg.sign(name, payloadFor(digest, `registry.local/${repository}:1`));
      const body = JSON.stringify({
        schemaVersion: 2,
        name: `${digest}@${"a".repeat(32)}`,
        type: "atomic",
        content: octets.toString("base64"),
      });
      const { status, text } = await registry.push(
        "PUT",
        `/extensions/v2/${repository}/signatures/${digest}`,
        {
          body,
        },
      );
      if (status !== 201) throw new Error(text);
    },
    /** A worker that boots now. @returns where its files lie */
    async bootNode(): Promise<string> {
      const number = 4 + machines++;
      await server.add(number, `s${number}`);
      await server.assign(`s${number}`, "worker");
      const claim = await server.claim(number);
      const { bytes } = await server.ask(`/boot/claims/${claim}/node.cpio`, { from: number });
      const root = join(place, `node-${number}`);
      mkdirSync(root);
      execFileSync("cpio", ["-idm", "--quiet"], { cwd: root, input: bytes });
      return join(root, overlayPrefix);
    },
  };
}

/** Runs a program where /etc has a node's files, as this user. */
function onNode(node: string, words: readonly string[], user = 0): Promise<Outcome> {
  const home = mkdtempSync(join(node, "..", "home-"));
  chownSync(home, user, user);
  const mounts = `mount --bind ${node}/etc/containers /etc/containers && mount --bind ${node}/etc/hosts /etc/hosts`;
  const identity = user === 0 ? [] : ["setpriv", `--reuid=${user}`, `--regid=${user}`, "--clear-groups"];
  return new Promise((resolve, reject) =>
    execFile(
      "unshare",
      ["--mount", "sh", "-c", `${mounts} && cd "$HOME" && exec "$@"`, "sh", ...identity, ...words],
      {
        env: { PATH: process.env["PATH"], LC_ALL: "C", HOME: home, XDG_RUNTIME_DIR: home, TMPDIR: home },
        encoding: "utf8",
      },
      (error, stdout, stderr) => {
        if (error && typeof error.code !== "number") reject(error);
        else resolve({ accepted: error === null, said: `${stdout}${stderr}` });
      },
    ),
  );
}

const skopeo = (node: string, image: string) =>
  onNode(node, ["skopeo", "copy", "--quiet", `docker://${image}`, "dir:image"]);
const podmanOptions =
  "--root storage --runroot run --storage-driver vfs --cgroup-manager cgroupfs --events-backend none";
/** Rootless, in a user namespace of its own. */
const podman = (node: string, image: string) =>
  onNode(node, ["podman", ...podmanOptions.split(" "), "pull", "--quiet", image], nobody);

const refused = /signature|rejected by policy|Source image rejected/i;

t.test("with the files of its boot a node pulls what is signed over TLS, and nothing else", async (t) => {
  const { server, addSigner, pushImage, sign, bootNode } = await lab(t);
  await addSigner("anna");
  await addSigner("bella", ["registry.local/hers"]);
  await sign("anna", "lab/web", await pushImage("lab/web"));
  await sign("bella", "hers/web", await pushImage("hers/web"));
  const other = await pushImage("other/web");
  const unsigned = await pushImage("lab/unsigned");
  t.match(unsigned, /^sha256:/);
  const node = await bootNode();
  t.match(
    readFileSync(join(node, "etc/containers/registries.conf"), "utf8"),
    `location = "registry.local:${server.app.addresses.registryTlsPort}"\n`,
  );

  for (const pull of [skopeo, podman]) {
    for (const image of ["registry.local/lab/web:1", "registry.local/hers/web:1"]) {
      const { accepted, said } = await pull(node, image);
      t.ok(accepted, `${pull.name} ${image}: ${said}`);
    }
    t.match(await pull(node, "registry.local/lab/unsigned:1"), { accepted: false, said: refused });
  }

  // The server takes the new signer's signature at once; a node knows who may sign from its boot.
  await addSigner("clara", ["registry.local/other"]);
  await sign("clara", "other/web", other);
  await server.api("POST", "/keys/bella/revoke");
  const next = await bootNode();
  for (const pull of [skopeo, podman]) {
    const said = async (at: string, image: string) => {
      const outcome = await pull(at, image);
      t.ok(outcome.accepted || refused.test(outcome.said), outcome.said);
      return outcome.accepted;
    };
    t.notOk(
      await said(node, "registry.local/other/web:1"),
      `${pull.name}: signed by somebody it does not know`,
    );
    t.ok(await said(node, "registry.local/hers/web:1"), "who was revoked still counts there");
    t.ok(await said(next, "registry.local/other/web:1"), "the next boot knows");
    t.notOk(await said(next, "registry.local/hers/web:1"), "and the revoked one's place is closed");
    t.ok(await said(next, "registry.local/lab/web:1"));
  }
  const stranger = join(
    next,
    "etc/containers/certs.d",
    `registry.local:${server.app.addresses.registryTlsPort}`,
  );
  rmSync(stranger, { recursive: true });
  t.match(await skopeo(next, "registry.local/lab/web:1"), { accepted: false, said: /x509|certificate/ });
});

t.test("a node pulls by another name of the registry what was signed by the one", async (t) => {
  const { addSigner, pushImage, sign, bootNode } = await lab(t, {
    "registry.aliases": ["10.99.99.99", "cache.lab:5000"],
  });
  await addSigner("anna");
  await sign("anna", "lab/web", await pushImage("lab/web"));
  await pushImage("lab/unsigned");
  const node = await bootNode();
  for (const name of ["10.99.99.99", "cache.lab:5000"]) {
    const { accepted, said } = await skopeo(node, `${name}/lab/web:1`);
    t.ok(accepted, `${name}: ${said}`);
    t.match(await skopeo(node, `${name}/lab/unsigned:1`), { accepted: false, said: refused });
  }
});

t.test(
  "where nobody may sign, a node takes unsigned images, and refuses them when it is told to",
  async (t) => {
    const open = await lab(t);
    await open.pushImage("lab/web");
    const { accepted, said } = await skopeo(await open.bootNode(), "registry.local/lab/web:1");
    t.ok(accepted, said);
    const closed = await lab(t, { "cluster.unsignedImages": ["registry.local/open"] });
    await closed.pushImage("lab/web");
    await closed.pushImage("open/web");
    const node = await closed.bootNode();
    t.match(await skopeo(node, "registry.local/lab/web:1"), { accepted: false, said: refused });
    const named = await skopeo(node, "registry.local/open/web:1");
    t.ok(named.accepted, named.said);
  },
);

t.test("Debian's containerd pulls over TLS with the hosts.toml of its boot", async (t) => {
  const { place, pushImage, bootNode } = await lab(t, { "registry.aliases": ["10.99.99.99"] });
  await pushImage("lab/web");
  const node = await bootNode();
  const socket = join(place, "containerd.sock");
  const words = `--config /dev/null --address ${socket} --root ${place}/root --state ${place}/state`;
  const daemon = spawn("containerd", words.split(" "), { stdio: ["ignore", "ignore", "pipe"] });
  t.teardown(async () => {
    daemon.kill();
    if (daemon.exitCode === null && daemon.signalCode === null) await once(daemon, "exit");
  });
  for await (const chunk of daemon.stderr.iterator({ destroyOnReturn: false }))
    if (String(chunk).includes("containerd successfully booted")) break;
  daemon.stderr.resume();
  t.ok(existsSync(socket));
  const hosts = join(node, "etc/rollcall/u7s/certs.d");
  const pull = (image: string) =>
    onNode(
      node,
      `ctr --address ${socket} images pull --snapshotter native --hosts-dir ${hosts} ${image}`.split(" "),
    );
  for (const name of ["registry.local", "10.99.99.99"]) {
    const { accepted, said } = await pull(`${name}/lab/web:1`);
    t.ok(accepted, `${name}: ${said}`);
  }
  rmSync(join(node, "etc/containers/certs.d"), { recursive: true });
  t.match(await pull("registry.local/lab/web:1"), { accepted: false, said: /ca\.crt|x509|certificate/ });
});
