import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { validateConfig } from "../../server/ignition/validate.ts";
import { toCloudConfig } from "../../server/node/emit-cloud-config.ts";
import { toIgnition } from "../../server/node/emit-ignition.ts";
import { overlayPrefix, toInitrdOverlay } from "../../server/node/emit-initrd.ts";
import { toShellScript } from "../../server/node/emit-shell.ts";
import type { NodeSpec } from "../../server/node/node-spec.ts";
import { checkCloudConfig, runCloudInit } from "../support/cloud-init-run.ts";
import { runInLayer } from "../support/host-layer.ts";
import { runIgnition, validate } from "../support/ignition-run.ts";
import { differencesFrom } from "../support/node-comparison.ts";
import { allSamples } from "../support/node-samples.ts";

/** Files at an address, until the test ends. */
async function served(t: Test, files: Readonly<Record<string, string>>): Promise<string> {
  const server = createServer(({ url = "" }, response) => {
    const text = files[url.slice(1)];
    response.writeHead(text === undefined ? 404 : 200).end(text);
  });
  await new Promise<void>((done) => {
    server.listen(0, "127.0.0.1", done);
  });
  t.teardown(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

/** Not below the checkout: a root that lies over the host's must not hold itself. */
function temporary(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), "rollcall-node-"));
  t.teardown(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** What systemd does at the start of each boot. */
function addAccounts(root: string): void {
  execFileSync("systemd-sysusers", [`--root=${root}`], { stdio: ["ignore", "pipe", "pipe"] });
}

/** One of each family, the roles by turns: how a tree is written does not hang on the role, and the real programs take their time. */
const samples = allSamples().filter((_sample, index) => index % 4 === 1 || index % 4 === 2);

function sample(name: string): NodeSpec {
  const found = allSamples().find((one) => one.name === name);
  if (!found) throw new Error(name);
  return found.spec;
}

t.test("the real Ignition writes the tree of the spec", async (t) => {
  for (const { name, spec } of samples) {
    const config = toIgnition(spec);
    t.same(validateConfig(config).problems, [], name);
    const directory = temporary(t);
    const path = join(directory, "config.ign");
    writeFileSync(path, JSON.stringify(config));
    const { isValid, said } = await validate(path);
    t.ok(isValid, `${name}: ${said}`);
    const url = await served(t, { "config.ign": JSON.stringify(config) });
    const { root } = await runIgnition(directory, `${url}config.ign`);
    addAccounts(root);
    t.same(differencesFrom(spec, root), [], name);
  }
});

t.test("the real cloud-init writes the tree of the spec, with one range of subordinate ids", async (t) => {
  for (const name of ["debian-worker", "ubuntu-master", "alt-worker"]) {
    const spec = sample(name);
    const directory = temporary(t);
    const userData = toCloudConfig(spec);
    writeFileSync(join(directory, "user-data"), userData);
    const { isValid, said } = await checkCloudConfig(join(directory, "user-data"));
    t.ok(isValid, said);
    const url = await served(t, {
      "meta-data": "instance-id: i-1\n",
      "user-data": userData,
      "vendor-data": "",
    });
    const { written } = await runCloudInit(directory, url);
    t.same(differencesFrom(spec, written), [], name);
  }
});

t.test("the script writes the tree of the spec, and the same again when it runs once more", async (t) => {
  for (const { name, spec } of samples) {
    const directory = temporary(t);
    writeFileSync(join(directory, "node.sh"), toShellScript(spec));
    const run = "chroot layer/root sh /tmp/node.sh";
    // Directories have the temporary files of a look, and accounts are locked anew; all else is left alone.
    const list = String.raw`(cd layer/upper && find . -type f ! -path './etc/*passwd*' ! -path './etc/*group*' ! -path './etc/*shadow*' ! -path './tmp/*' -printf '%p %m %u %g %T@ %i\n' | sort)`;
    const { written } = await runInLayer(directory, [
      "mkdir -p layer/root/tmp",
      "cp node.sh layer/root/tmp/node.sh",
      run,
      `${list} >copy/first`,
      run,
      `${list} >copy/second`,
    ]);
    t.same(differencesFrom(spec, written), [], name);
    t.equal(readFileSync(join(written, "second"), "utf8"), readFileSync(join(written, "first"), "utf8"));
    t.match(readFileSync(join(written, "first"), "utf8"), /rootlesskit\.sh 755/);
  }
});

t.test(
  "the archive, unpacked by cpio and by busybox, is the tree of the spec; systemd makes its accounts",
  async (t) => {
    const accounts = ["passwd", "group", "shadow", "gshadow"];
    for (const { name, spec } of samples)
      for (const unpack of ["cpio -idm --quiet", "busybox cpio -idm"]) {
        const directory = temporary(t);
        const root = join(directory, overlayPrefix);
        execFileSync("sh", ["-c", `cd "${directory}" && ${unpack}`], {
          input: toInitrdOverlay(spec),
          stdio: ["pipe", "pipe", "pipe"],
        });
        writeFileSync(join(root, "etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n");
        writeFileSync(join(root, "etc/group"), "root:x:0:\n");
        addAccounts(root);
        t.same(differencesFrom(spec, root), [], `${name}: ${unpack}`);
        if (name === "debian-worker")
          t.ok(
            differencesFrom(sample("alt-worker"), root).some((one) => one.endsWith("is missing")),
            "and another tree is told from it",
          );
        for (const file of accounts) rmSync(join(root, "etc", file), { force: true });
      }
    const bytes = toInitrdOverlay(sample("flatcar-worker"), "");
    t.equal(bytes.length % 512, 0, "whole sectors");
    const listed = execFileSync("cpio", ["-it", "--quiet"], { input: bytes }).toString();
    t.match(listed, /^etc\/systemd\/user\/rootlesskit\.service$/m, "and without a prefix it is a root");
  },
);
