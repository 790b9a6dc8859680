import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import t from "tap";
import { parse as parseYaml } from "yaml";
import { planBoot, renderPlannedDocument, renderScript } from "../server/boot/boot-plan.ts";
import type { Image } from "../server/domain/image.ts";
import type { Machine } from "../server/domain/machine.ts";
import { servedKinds } from "../server/domain/role.ts";
import { createRenderer, loadStandardTemplates } from "../server/render/documents.ts";
import { loadRoles } from "../server/render/load-roles.ts";

const templates = resolve(import.meta.dirname, "../templates");
const golden = resolve(import.meta.dirname, "golden");

t.test("what each shipped role makes of a sample machine is its golden file", (t) => {
  const renderer = createRenderer(loadStandardTemplates(templates));
  const loaded = loadRoles([join(templates, "roles")]);
  const file = (name: string, digit: string, sizeBytes: number) => ({
    name,
    sha256: digit.repeat(64),
    sizeBytes,
  });
  const image: Image = {
    name: "debian-node",
    version: "12.11-1",
    arch: "x86_64",
    files: {
      kernel: file("vmlinuz", "a", 8_000_000),
      initrd: file("initrd.img", "b", 30_000_000),
      rootfs: file("root.squashfs", "c", 200_000_000),
    },
    addedAt: 0,
    isCurrent: true,
    currentSince: 0,
  };
  // A memory test has no initrd, and another file for UEFI.
  const memtest: Image = {
    ...image,
    name: "memtest",
    files: {
      kernel: file("kernel-memtest86-x64.bin", "d", 144_312),
      kernelEfi: file("kernelEfi-memtest86-x64.efi", "e", 145_408),
    },
  };
  const flatcar: Image = {
    ...image,
    name: "flatcar",
    files: {
      kernel: image.files.kernel,
      initrd: file("flatcar_production_pxe_image.cpio.gz", "b", 400_000_000),
    },
  };
  const ubuntu: Image = {
    ...image,
    name: "ubuntu-live",
    files: {
      ...image.files,
      rootfs: file("rootfs-ubuntu-24.04.2-live-server-amd64.iso", "c", 3_000_000_000),
    },
  };
  const alt: Image = {
    ...image,
    name: "alt-workstation",
    files: { ...image.files, rootfs: file("rootfs-alt-workstation-11.0-x86_64.iso", "c", 6_000_000_000) },
  };
  const installer: Image = {
    ...image,
    name: "debian-installer",
    files: {
      kernel: file("kernel-linux", "a", 8_000_000),
      initrd: file("initrd-initrd.gz", "b", 40_000_000),
    },
  };
  const imageOf = (name: string): Image =>
    [memtest, flatcar, ubuntu, alt, installer].find((special) => special.name === name) ?? { ...image, name };
  const machine = {
    id: "m_1",
    name: "s4",
    macs: ["52:54:00:00:00:04"],
    uuid: "4c4c4544-0035-3510-8052-b4c04f4a3732",
    serial: "SN 4",
    group: "lab225",
    seat: "B2",
    labels: { room: "225" },
    address: "10.0.0.14",
  } as unknown as Machine;
  const made = new Set<string>();
  for (const name of loaded.roles.keys()) {
    const params = [
      "rescue",
      "flatcar",
      "fedora-coreos",
      "ubuntu-live",
      "alt-workstation",
      "desktop",
    ].includes(name)
      ? { sshKeys: ["ssh-ed25519 AAAA olga@office"] }
      : {};
    const sources = { roles: () => loaded, images: { findCurrent: imageOf }, renderer };
    const plan = planBoot({ kind: "role", role: name, params }, sources);
    const rendering = {
      machine,
      plan,
      serverUrl: "http://10.0.0.1:8080",
      bootId: "b_1",
      claim: "secretclaim",
      pollSeconds: 5,
      localBoot: "exit" as const,
    };
    for (const kind of servedKinds) {
      const text =
        kind === "ipxe"
          ? renderScript(rendering, renderer)
          : renderPlannedDocument(rendering, kind, renderer);
      if (text === undefined) continue;
      const path = join(golden, name, kind);
      if (kind.endsWith("-data")) t.type(parseYaml(text), "object", `${name}/${kind} is YAML`);
      made.add(`${name}/${kind}`);
      if (process.env["UPDATE_GOLDENS"] === "1") {
        mkdirSync(join(golden, name), { recursive: true });
        writeFileSync(path, text);
      }
      t.equal(
        text,
        existsSync(path) ? readFileSync(path, "utf8") : "(no golden file; npm run golden:update makes it)",
        `${name}/${kind}`,
      );
    }
  }
  const kept = readdirSync(golden).flatMap((role) =>
    readdirSync(join(golden, role)).map((kind) => `${role}/${kind}`),
  );
  t.same(kept.sort(), [...made].sort(), "and there is no golden file of a document that is gone");
  t.end();
});
