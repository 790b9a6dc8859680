/** Diagnoses of what machines load, each made to happen to a real server by TFTP and HTTP over loopback sockets, unless the name says otherwise. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { clientOptions } from "../support/dhcp-messages.ts";
import { type DoctorLab, doctorLab } from "../support/doctor-lab.ts";
import { macOf, sampleImage } from "../support/samples.ts";

const uefi = { options: clientOptions.ovmf };

/** A machine that comes to its REQUEST, at an address that this server knows. */
async function requested(lab: DoctorLab, number: number): Promise<void> {
  await lab.bootedBefore(number);
  await lab.step("offer", () => lab.dhcp(number, { type: "Discover", ...uefi }));
  await lab.step("request", () => lab.dhcp(number, { type: "Request", ciaddr: "127.0.0.1", ...uefi }, 4011));
}

/** A machine that has its script for an image. @returns its claim and the digests of the image's files */
async function scripted(lab: DoctorLab, number = 1) {
  const files = await lab.addImage();
  await lab.add(number, `s${number}`);
  await lab.assign(`s${number}`, "worker");
  const claim = await lab.claim(number);
  const load = (...names: (keyof typeof files)[]) =>
    names.reduce(
      (before, name) =>
        before.then(async () => void (await lab.ask(`/assets/${files[name]}/${name}`, { from: number }))),
      Promise.resolve(),
    );
  const report = (what: string, body: object) =>
    lab.ask(`/callback/${claim}/${what}`, { method: "POST", from: number, body });
  return { files, claim, load, report };
}

t.test("TFTP_BLOCKED: our answers do not reach the machine, or its read request never comes", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  await requested(lab, 1);
  lab.later(30);
  t.match(await lab.first("s1"), {
    code: "TFTP_BLOCKED",
    certainty: "probable",
    candidates: [{ code: "TFTP_BLOCKED" }, { code: "OTHER_DHCP_SERVER" }],
  });
  await lab.readRequest(1, "snponly.efi");
  await lab.step("nbp", () => lab.later(120));
  t.match(await lab.first("s1"), {
    code: "TFTP_BLOCKED",
    certainty: "certain",
    what: /none of our answers reached it/,
    advice: [/nf_conntrack_tftp/, /singlePort/],
  });
});

t.test("TFTP_BLOCKS_LOST: the machine answers the first packet, and the blocks die on the way", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  await requested(lab, 1);
  // OACK of 1468 octets, ACK 0, and then nothing is heard of the machine.
  await lab.readRequest(1, "snponly.efi", {
    options: "blksize\u00001468\0",
    answer: Buffer.from([0, 4, 0, 0]),
  });
  await lab.step("nbp", () => lab.later(120));
  const first = await lab.first("s1");
  t.match(first, { code: "TFTP_BLOCKS_LOST", certainty: "certain", what: /of 1468 octets/ });
});

t.test("BOOT_FILE_NOT_FOUND: another server names a file that there is none of here", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  await requested(lab, 1);
  await lab.step("nbp", () => lab.readRequest(1, "pxelinux.0"));
  t.match(await lab.first("s1"), {
    code: "BOOT_FILE_NOT_FOUND",
    certainty: "certain",
    what: /"pxelinux\.0"/,
  });
});

t.test(
  "SECURE_BOOT_REFUSED: all of an unsigned program was loaded over HTTP, and nothing came after it",
  async (t) => {
    const lab = await doctorLab(t);
    await lab.add(1, "s1");
    await requested(lab, 1);
    await lab.step("nbp", () => lab.ask("/nbp/snponly.efi", { from: 1 }));
    t.equal((await lab.first("s1"))?.code, "UNDER_WAY");
    lab.later(90);
    t.match(await lab.first("s1"), {
      code: "SECURE_BOOT_REFUSED",
      certainty: "probable",
      candidates: [{ code: "SECURE_BOOT_REFUSED", tell: /Access Denied/ }, { code: "LOADER_HUNG" }],
    });
    // GRUB said so in an earlier boot.
    await lab.grub(1, { lockdown: "y" });
    lab.later(6 * 60);
    await lab.step("offer", () => lab.dhcp(1, { type: "Discover", ...uefi }));
    await lab.step("nbp", () => lab.ask("/nbp/snponly.efi", { from: 1 }));
    lab.later(90);
    t.match(await lab.first("s1"), { code: "SECURE_BOOT_REFUSED", certainty: "certain" });
  },
);

t.test(
  "LOADER_HUNG: a machine that is known to have no Secure Boot loads its program and is not heard of again",
  async (t) => {
    const lab = await doctorLab(t);
    await lab.add(1, "s1");
    await lab.grub(1, { lockdown: "n" });
    lab.later(6 * 60);
    await lab.step("offer", () => lab.dhcp(1, { type: "Discover", ...uefi }));
    await lab.step("nbp", () => lab.ask("/nbp/snponly.efi", { from: 1 }));
    lab.later(90);
    t.match(await lab.codes("s1"), ["LOADER_HUNG"]);
  },
);

t.test("SCRIPT_NOT_FOUND: a machine asks for a script by a wrong address (404)", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  await requested(lab, 1);
  lab.later(20);
  t.equal((await lab.ask("/pxe/boot.php?mac=x", { from: 1 })).status, 404);
  t.match(await lab.first("s1"), {
    code: "SCRIPT_NOT_FOUND",
    certainty: "certain",
    what: /\/pxe\/boot\.php,/,
    evidence: [{ what: /404 NOT_FOUND/ }],
  });
  lab.later(5);
  await lab.script(1);
  t.not((await lab.first("s1"))?.code, "SCRIPT_NOT_FOUND", "it has found its way");
});

t.test("SCRIPT_NOT_FOUND: the kernel of its script is gone", async (t) => {
  const lab = await doctorLab(t);
  await scripted(lab);
  lab.later(5);
  await lab.ask(`/assets/${"0".repeat(64)}/vmlinuz`, { from: 1 });
  t.match(await lab.first("s1"), {
    code: "SCRIPT_NOT_FOUND",
    what: /no such content/,
    advice: [/boot image list/],
  });
});

t.test("ROLE_BROKEN, WRONG_ARCHITECTURE, ROLE_NEEDS_IPXE: the script tells an error", async (t) => {
  const lab = await doctorLab(t, {
    roles: {
      "own/role.yaml": "description: a script\nboot: script\ntemplates: { ipxe: own.ipxe.hbs }\n",
      "own/own.ipxe.hbs": "#!ipxe\nexit 1\n",
      "arm/role.yaml": "description: arm only\nboot: local\narch: [arm64]\n",
    },
  });
  for (const [number, role] of [
    [2, "own"],
    [3, "arm"],
    [4, "own"],
  ] as const) {
    await lab.add(number, `s${number}`);
    t.equal((await lab.assign(`s${number}`, role)).status, 200, role);
  }
  await lab.script(3, { query: "?arch=x86_64" });
  t.match(await lab.first("s3"), {
    code: "WRONG_ARCHITECTURE",
    certainty: "certain",
    evidence: [{ what: /ARCH_MISMATCH/ }],
  });
  await lab.grub(4);
  t.match(await lab.first("s4"), { code: "ROLE_NEEDS_IPXE", certainty: "certain" });
  rmSync(join(lab.rolesDir, "own"), { recursive: true });
  lab.later(10);
  await lab.script(2);
  t.match(await lab.first("s2"), { code: "ROLE_BROKEN", certainty: "certain", what: /own/ });
});

t.test("NO_IMAGE: the image of its role is not here", async (t) => {
  const lab = await doctorLab(t, { settings: { defaultRole: "worker" } });
  await lab.add(1, "s1");
  t.match(
    (await lab.doctor("s1")).diagnoses,
    [{ code: "NO_DISCOVER" }, { code: "NEXT_BOOT_FAILS", certainty: "noted" }],
    "told before it boots",
  );
  await lab.script(1);
  t.match(await lab.codes("s1"), ["NO_IMAGE"]);
  await lab.addImage();
  lab.later(12);
  await lab.script(1);
  t.notMatch(await lab.codes("s1"), /NO_IMAGE/, "mended, and it came again");
});

t.test("RAM_TOO_SMALL: by its own word before it boots, and by its initramfs", async (t) => {
  const lab = await doctorLab(t, {
    roles: {
      "big/role.yaml":
        "description: big\nboot: image\nimage: debian-node\nminimumRam: 8 GiB\ntemplates: { user-data: u.hbs }\n",
      "big/u.hbs": "#cloud-config\n{}\n",
    },
  });
  await lab.addImage();
  await lab.add(1, "s1");
  t.equal((await lab.assign("s1", "big")).status, 200);
  await lab.script(1, { query: "?memsize=1000" });
  t.match(await lab.first("s1"), {
    code: "RAM_TOO_SMALL",
    certainty: "certain",
    evidence: [{ what: /MACHINE_TOO_SMALL/ }],
  });

  const { load, report } = await scripted(lab, 2);
  await load("kernel", "initrd");
  await report("failed", { code: "RAM_TOO_SMALL", message: "the image of 900 MB does not fit" });
  t.match(await lab.first("s2"), { code: "RAM_TOO_SMALL", certainty: "certain", what: /does not fit/ });
});

t.test(
  "RAM_TOO_SMALL: probable by recorded sizes where kernel and initrd were loaded and nothing came",
  async (t) => {
    const lab = await doctorLab(t);
    const { load } = await scripted(lab);
    await load("kernel", "initrd");
    const mib = 1024 ** 2;
    const file = (sizeBytes: number) => ({ ...sampleImage("1").files.kernel, sizeBytes });
    const [claim] = [...lab.store.claims.all()];
    if (!claim) throw new Error("no claim");
    await lab.store.claims.update(claim.hash, (current) => ({
      ...current,
      image: { ...sampleImage("1"), files: { kernel: file(10 * mib), initrd: file(400 * mib) } },
    }));
    const machine = lab.store.machines.findByMac(macOf(1));
    await lab.store.machines.update(machine?.id ?? "", (before) => ({ ...before, ramBytes: 1024 * mib }));
    lab.later(6 * 60);
    t.match(await lab.doctor("s1"), {
      diagnoses: [
        {
          code: "RAM_TOO_SMALL",
          certainty: "probable",
          candidates: [{ code: "RAM_TOO_SMALL" }, { code: "KERNEL_SILENT" }],
        },
      ],
    });
  },
);

t.test("KERNEL_SILENT: kernel and initrd are loaded, and nothing is heard of them", async (t) => {
  const lab = await doctorLab(t);
  const { load } = await scripted(lab);
  await load("kernel", "initrd");
  t.match(await lab.codes("s1"), ["UNDER_WAY"]);
  lab.later(6 * 60);
  t.match(await lab.first("s1"), { code: "KERNEL_SILENT", certainty: "probable" });
});

t.test("NOTHING_AFTER_SCRIPT: it has its script and asks for no kernel", async (t) => {
  const lab = await doctorLab(t);
  await scripted(lab);
  lab.later(90);
  t.match(await lab.codes("s1"), ["NOTHING_AFTER_SCRIPT"]);
});

t.test("WRONG_IMAGE_DIGEST: the initramfs says so", async (t) => {
  const lab = await doctorLab(t);
  const { load, report } = await scripted(lab);
  await load("kernel", "initrd", "rootfs");
  await report("failed", { code: "ROOTFS_DIGEST_MISMATCH", message: "sha256 is 00ff" });
  t.match(await lab.first("s1"), {
    code: "WRONG_IMAGE_DIGEST",
    certainty: "certain",
    what: /00ff/,
    advice: [/import the image again/, /registry\.damaged/],
  });
});

t.test("ROOT_NOT_LOADED: the initramfs says why, and is missed where it says nothing", async (t) => {
  const lab = await doctorLab(t);
  const { load, report } = await scripted(lab);
  await load("kernel", "initrd");
  await report("phase", { step: "network" });
  lab.later(10 * 60);
  t.match(await lab.first("s1"), { code: "ROOT_NOT_LOADED", certainty: "probable" });
  await report("failed", { code: "ROOTFS_MOUNT_FAILED", message: "no squashfs" });
  t.match(await lab.codes("s1"), ["ROOT_NOT_LOADED"]);
  t.match(await lab.first("s1"), { certainty: "certain", advice: [/build it anew/] });
});

t.test("OWN_SCRIPT_FAILED and HANDED_OVER: a script by its URL", async (t) => {
  const lab = await doctorLab(t);
  await lab.add(1, "s1");
  await lab.api("PUT", "/machines/s1/role", { url: "http://10.9.9.9/x.ipxe" });
  await lab.script(1);
  lab.later(60);
  t.match(await lab.first("s1"), { code: "HANDED_OVER", fine: true });
  await lab.script(1);
  t.match(await lab.first("s1"), { code: "OWN_SCRIPT_FAILED", certainty: "probable", what: /10\.9\.9\.9/ });
});

t.test(
  "IDENTITY_REFUSED: its script is asked for from an address that nothing shows to be its own",
  async (t) => {
    const lab = await doctorLab(t);
    await lab.add(1, "s1");
    await lab.ask(`/boot/${macOf(1)}/boot.ipxe`);
    const { diagnoses } = await lab.doctor("s1");
    t.match(
      diagnoses.find(({ code }) => code === "IDENTITY_REFUSED"),
      { what: /127\.0\.0\.1 asked for the script of s1/ },
    );
  },
);
