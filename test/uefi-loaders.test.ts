import t from "tap";
import {
  archByGrubCpu,
  isOptionalForLoaders,
  uefiFirstStage,
  uefiLoaders,
} from "../server/domain/uefi-loaders.ts";
import { chooseBootfile } from "../server/dhcp/policy/choose-bootfile.ts";
import { classifyClient } from "../server/dhcp/policy/classify-client.ts";
import { clientOptions, ip, requestMessage } from "./support/dhcp-messages.ts";

const all = new Set(["shimx64.efi", "grubx64.efi", "snponly.efi", "ipxe.efi", "ipxe-arm64.efi"]);

t.test("shim comes first until the machine has said that Secure Boot is off (Q17)", (t) => {
  t.same(uefiFirstStage("x86_64", undefined, all), ["shimx64.efi", "snponly.efi", "ipxe.efi"]);
  t.same(uefiFirstStage("x86_64", true, all), ["shimx64.efi", "snponly.efi", "ipxe.efi"]);
  t.same(uefiFirstStage("x86_64", false, all), ["snponly.efi", "ipxe.efi", "shimx64.efi"]);
  t.end();
});

t.test("shim is never given without the GRUB that it loads next", (t) => {
  t.same(uefiFirstStage("x86_64", true, new Set(["shimx64.efi", "snponly.efi"])), [
    "snponly.efi",
    "ipxe.efi",
  ]);
  t.notMatch(uefiFirstStage("arm64", undefined, all).join(), "shim");
  t.same(uefiFirstStage("riscv64", undefined, all), uefiLoaders.riscv64.ipxe);
  t.end();
});

t.test("the DHCP reply has what the machine starts, by PXE and by HTTP, and what people chose", (t) => {
  const bootfile = (options: object, more: object = {}) => {
    const client = classifyClient(requestMessage({ type: "Discover", options: { ...options } }));
    if (!client) throw new Error("no client");
    const choice = chooseBootfile({
      client,
      available: all,
      serverAddress: ip("10.0.0.1"),
      urls: { script: "http://10.0.0.1/boot.ipxe", nbp: (name) => `http://10.0.0.1/nbp/${name}` },
      chainedBefore: false,
      ...more,
    });
    return choice.kind === "boot" ? choice.bootfile : choice.reason;
  };
  const pxe = { 60: "PXEClient:Arch:00007:UNDI:003016", 93: [0, 7] };
  const http = { 60: "HTTPClient:Arch:00016:UNDI:003001", 93: [0, 16] };
  t.equal(bootfile(pxe), "shimx64.efi");
  t.equal(bootfile(pxe, { secureBoot: false }), "snponly.efi");
  t.equal(bootfile(http, { secureBoot: true }), "http://10.0.0.1/nbp/shimx64.efi");
  t.equal(bootfile(pxe, { driver: "ipxe" }), "ipxe.efi");
  t.equal(bootfile(pxe, { driver: "shim", secureBoot: false }), "shimx64.efi");
  t.equal(bootfile(clientOptions.bios), "none of undionly.kpxe, ipxe.pxe is in boot-assets");
  t.end();
});

t.test("GRUB's word for each architecture leads back to it", (t) => {
  for (const arch of ["x86_64", "x86", "arm64", "arm", "riscv64"] as const)
    t.equal(archByGrubCpu(uefiLoaders[arch].grubCpu), arch);
  t.equal(archByGrubCpu("sparc"), undefined);
  t.end();
});

t.test("what loaders look for and do without is known by its name", (t) => {
  for (const file of [
    "revocations_sku.efi",
    "/revocations_sbat.efi",
    "shim_certificate_0.efi",
    "/grub/x86_64-efi/fs.lst",
  ])
    t.ok(isOptionalForLoaders(file), file);
  for (const file of ["snponly.efi", "grubx64.efi", "/grub/grub.cfg", "shimx64.efi"])
    t.notOk(isOptionalForLoaders(file), file);
  t.end();
});
