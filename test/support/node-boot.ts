import { createHash } from "node:crypto";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { cpio, type CpioMember } from "../../server/node/cpio.ts";
import { overlayPrefix, toInitrdOverlay } from "../../server/node/emit-initrd.ts";
import type { NodeFactsInput } from "../../server/node/node-facts.ts";
import { adminUser, type NodePart, type NodeSpec } from "../../server/node/node-spec.ts";
import { publicText } from "../../server/node/public-text.ts";
import { rootlessNode } from "../../server/node/rootless-node.ts";
import { writeDockerArchive } from "./docker-archive.ts";
import { createE2eLab, type E2eLab, type EventView, prepare } from "./e2e-lab.ts";
import { authoritativeConfig } from "./lab-configs.ts";
import { sampleFacts } from "./node-samples.ts";
import { proofContainer } from "./proof-image.ts";
import { temporaryDirectory } from "./samples.ts";

const mac = "52:54:00:77:00:01";
export const nodeAddress = "10.77.0.50";
export const nodeMachineId = "0123456789ab4cde8f0123456789abcd";

/**
 * A unit that runs a script as root when the user's services are up, and sends what it says as the machine's log.
 * @param script of `say NAME VALUE`, with `user COMMAND` as the node's user and `inside COMMAND` in its user namespace
 */
function proofPart(script: string): NodePart {
  const text = String.raw`#!/bin/sh
set -u
say() { printf '%s=%s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; }
. /etc/rollcall/u7s/env
user() { runuser -u ${adminUser} -- env "HOME=$U7S_HOME" XDG_RUNTIME_DIR=/run/user/771 "$@"; }
inside() { user "$U7S_PROGRAMS/nsenter_u7s" "$@"; }
prove() {
say started "$(user systemctl --user start rootlesskit.service 2>&1 && echo yes)"
${script}
}
prove >/run/proof 2>&1
cat /run/proof >/dev/ttyS0
callback=$(grep -o 'rollcall.callback=[^ ]*' /proc/cmdline | cut -d= -f2-)
curl --silent --show-error --data-binary @/run/proof "$callback/log" >/dev/ttyS0 2>&1
`;
  return {
    files: [{ path: "/usr/local/libexec/proof.sh", owner: "root", mode: 0o755, text: publicText(text) }],
    units: [
      {
        name: "proof.service",
        scope: "system",
        wantedBy: ["multi-user.target"],
        text: publicText(`[Unit]
Requires=user@771.service
After=user@771.service
[Service]
ExecStart=/usr/local/libexec/proof.sh
`),
      },
    ],
  };
}

/** What `say` said, by name. */
function saidIn(log: string): ReadonlyMap<string, string> {
  return new Map(
    log.split("\n").map((line) => [line.split("=")[0] ?? "", line.replace(/^[^=]*=/, "").trim()]),
  );
}

/** A copy of the image whose initrd has the node after it, as a boot loader puts it there. */
function imageWithNode(t: Test, image: string, spec: NodeSpec): string {
  const directory = temporaryDirectory(t);
  const archive = join(directory, "proof.tar");
  writeDockerArchive(proofContainer(), archive);
  const manifest = JSON.parse(readFileSync(join(image, "image.json"), "utf8")) as {
    files: Record<"kernel" | "initrd" | "rootfs", { name: string; sha256: string; sizeBytes: number }>;
  };
  for (const { name } of Object.values(manifest.files))
    copyFileSync(join(image, name), join(directory, name));
  const { initrd } = manifest.files;
  const root = { uid: 0, gid: 0, data: new Uint8Array() };
  const images = `${overlayPrefix}/usr/share/rollcall/images`;
  const parents = images.split("/").map((_, index, all) => all.slice(0, index + 1).join("/"));
  const bytes = Buffer.concat([
    readFileSync(join(image, initrd.name)),
    // Archives begin at a multiple of 4.
    new Uint8Array((4 - (initrd.sizeBytes % 4)) % 4),
    toInitrdOverlay(spec),
    cpio([
      ...parents.map((name): CpioMember => ({ ...root, type: "directory", name, mode: 0o755 })),
      { ...root, type: "file", name: `${images}/proof.tar`, mode: 0o644, data: readFileSync(archive) },
    ]),
  ]);
  writeFileSync(join(directory, initrd.name), bytes);
  manifest.files.initrd = {
    name: initrd.name,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    sizeBytes: bytes.length,
  };
  writeFileSync(join(directory, "image.json"), JSON.stringify(manifest));
  return directory;
}

/** Emulated, and beside other tests: a limit, not an expectation. */
const scriptLimitMs = 20 * 60_000;

/** A machine `s1` that boots the image as a worker's node, runs the script, and tells what came of it. */
export async function bootNode(
  t: Test,
  {
    image,
    memoryMiB,
    script,
    facts = {},
  }: { image: string; memoryMiB: number; script: string; facts?: Partial<NodeFactsInput> },
): Promise<{ e2e: E2eLab; said: ReadonlyMap<string, string>; log: string }> {
  const { kernelRelease } = JSON.parse(readFileSync(join(image, "image.json"), "utf8")) as {
    kernelRelease: string;
  };
  const known = {
    hostname: "s1",
    address: nodeAddress,
    machineId: nodeMachineId,
    servicesAddress: "10.77.0.1",
  };
  const spec = rootlessNode(
    "worker",
    "debian",
    sampleFacts({ ...known, kernelRelease, ...facts }),
    proofPart(script),
  );
  // The kernel's arguments of the node stand in a role of their own, as its files stand in the initrd.
  const role = `extends: worker\narguments: ${JSON.stringify(spec.arguments)}\n`;
  const rolesDir = t.testdir({ node: { "role.yaml": role } });
  const e2e = await createE2eLab(t, {
    config: `${authoritativeConfig}rolesDir: ${rolesDir}\n`,
    bridges: { br0: "10.77.0.1/24" },
  });
  await prepare(e2e, imageWithNode(t, image, spec), {});
  await e2e.boot("machine", "add", "s1", "--mac", mac, "--address", nodeAddress);
  await e2e.boot("s1", "node");
  const began = Date.now();
  const seconds = () => `${Math.round((Date.now() - began) / 1000)} s after power-on`;
  const machine = await e2e.lab.powerOn({ name: "s1", mac, firmware: "bios", memoryMiB });
  await e2e.waitForStep("s1", "switch-root");
  t.comment(`s1 has its root ${seconds()}`);
  const isLog = (event: EventView) => event.type === "machine.log";
  const sent = await e2e
    .waitForEvent("what the script says", isLog, scriptLimitMs)
    .catch((error: unknown) => {
      t.comment(machine.screen.slice(-6000));
      throw error;
    });
  t.comment(`the script is through ${seconds()}`);
  const log = String(sent.data["tail"]);
  t.comment(log);
  return { e2e, said: saidIn(log), log };
}
