import type { Driver } from "../../domain/boot-preferences.ts";
import { type Arch, type Firmware, firmwareByCode } from "../../domain/firmware.ts";
import { uefiFirstStage, uefiLoaders } from "../../domain/uefi-loaders.ts";
import type { Ipv4 } from "../../net/ipv4.ts";
import type { Client } from "./classify-client.ts";
import { isUboot } from "./fingerprints.ts";

/** Where machines find what they boot, by the server address that their network reaches us at. */
export interface BootUrls {
  /** The script that iPXE is sent to first. */
  readonly script: string;
  /** A first-stage binary over HTTP, for UEFI HTTP boot. */
  nbp(name: string): string;
}

export type BootChoice =
  | {
      readonly kind: "boot";
      /** A TFTP file name or a URL. */
      readonly bootfile: string;
      /** Which row of the strategies answers this client. */
      readonly client: "bios" | "uefi" | "uefi-http" | "ipxe" | "raspberry-pi" | "uboot";
      /** An iPXE without HTTP is sent to our own build; once per boot, the shell remembers. */
      readonly isChainload: boolean;
      /** The network drivers that this client's first-stage program can be had with, in the order of preference. */
      readonly drivers?: readonly Driver[];
    }
  | { readonly kind: "none"; readonly reason: string };

/**
 * First-stage binaries in the order of preference. `undionly` and, for UEFI (domain/uefi-loaders.ts), `snponly` use the firmware's own
 * network driver, so they work on every card the firmware booted from; the full build brings drivers of its own (firmware-quirk Q36).
 */
export const nbpNames: {
  readonly bios: readonly string[];
  readonly uboot: Readonly<Partial<Record<Arch, readonly string[]>>>;
  readonly ubootUefi: Readonly<Partial<Record<Arch, readonly string[]>>>;
  readonly raspberryPi: readonly string[];
} = {
  bios: ["undionly.kpxe", "ipxe.pxe"],
  // U-Boot runs a script of its own format, which says what it loads next. boot.scr.uimg is what it looks for by itself.
  uboot: {
    arm: ["boot-arm32.scr.uimg", "boot.scr.uimg"],
    arm64: ["boot-arm64.scr.uimg", "boot.scr.uimg"],
  },
  // iPXE as Debian builds it puts the processor to sleep until an interrupt, and in U-Boot none ever comes (sidero#806):
  // GRUB does not sleep. `snp-uboot` is for an iPXE of one's own without it (config/nap.h).
  ubootUefi: {
    arm: ["snp-uboot-arm32.efi", "grubarm.efi"],
    arm64: ["snp-uboot-arm64.efi", "grubaa64.efi"],
    riscv64: ["snp-uboot-riscv64.efi", "grubriscv64.efi"],
  },
  // A Pi asks for these by itself whatever it is told (firmware-quirk Q30): one of them says that we have its files.
  raspberryPi: ["bootcode.bin", "start4.elf", "config.txt"],
};

/** What boards load by TFTP alone: the administrator's own files, which no manifest names. */
export const boardFileNames: ReadonlySet<string> = new Set([
  ...nbpNames.raspberryPi,
  ...Object.values(nbpNames.uboot).flat(),
]);

export interface ChooseBootfileInput {
  readonly client: Client;
  /** Names of the first-stage binaries that we can hand out. */
  readonly available: ReadonlySet<string>;
  readonly serverAddress: Ipv4;
  readonly urls: BootUrls;
  /** This machine's iPXE was sent to our own build a moment ago, in an earlier exchange. */
  readonly chainedBefore: boolean;
  /** Taken where there is one for this client's architecture, else the first one there is. */
  readonly driver?: Driver | undefined;
  /** What the machine said of its Secure Boot; undefined: nothing yet. */
  readonly secureBoot?: boolean | undefined;
}

/** The network driver that a first-stage program works with, by its name; undefined: it is none of those with a choice. */
export function driverOf(name: string): Driver | undefined {
  if (name.startsWith("undionly")) return "undionly";
  if (name.startsWith("shim")) return "shim";
  if (name.startsWith("snp")) return "snponly";
  return name.startsWith("ipxe") ? "ipxe" : undefined;
}

/**
 * What the client boots. The one place where the chain iPXE -> iPXE ends: an iPXE that can load the script gets the
 * script and never a binary (RFC 3004 user class, option 175).
 */
export function chooseBootfile(input: ChooseBootfileInput): BootChoice {
  const { client, available, serverAddress, urls, chainedBefore, driver } = input;
  if (client.speaker === "ipxe") {
    // No option 175 at all: a relay or an ancient build took it away, and the default build has HTTP.
    if (client.ipxeFeatures?.has("http") ?? true) {
      return { kind: "boot", bootfile: urls.script, client: "ipxe", isChainload: false };
    }
    if (chainedBefore) return { kind: "none", reason: "iPXE without HTTP came back after it was given ours" };
  }
  if (client.fingerprint === "raspberry-pi") {
    const name = nbpNames.raspberryPi.find((candidate) => available.has(candidate));
    return name === undefined
      ? {
          kind: "none",
          reason: `none of ${nbpNames.raspberryPi.join(", ")} is in the data directory's tftp/`,
        }
      : { kind: "boot", bootfile: name, client: "raspberry-pi", isChainload: false };
  }
  if (client.architectures.length === 0) return { kind: "none", reason: "client names no architecture" };
  const wanted: string[] = [];
  for (const code of client.architectures) {
    const firmware = firmwareByCode(code);
    if (!firmware) continue;
    const names = namesFor(firmware, input);
    const usable = names.filter((candidate) => available.has(candidate));
    const name =
      usable.find((candidate) => driver !== undefined && driverOf(candidate) === driver) ?? usable[0];
    if (name === undefined) {
      wanted.push(...names);
      continue;
    }
    if (client.speaker === "ipxe") {
      // iPXE reads a bare name relative to what it loaded last, which need not be ours (firmware-quirk Q14).
      return { kind: "boot", bootfile: `tftp://${serverAddress}/${name}`, client: "ipxe", isChainload: true };
    }
    const drivers = [...new Set(usable.map(driverOf).filter((known) => known !== undefined))];
    const isHttp = firmware.kind.endsWith("-http") || client.netboot === "HTTPClient";
    if (isHttp)
      return { kind: "boot", bootfile: urls.nbp(name), client: "uefi-http", isChainload: false, drivers };
    return {
      kind: "boot",
      bootfile: name,
      client: isUboot(client.fingerprint) ? "uboot" : firmware.kind === "bios" ? "bios" : "uefi",
      isChainload: false,
      drivers,
    };
  }
  if (client.fingerprint === "uboot" && wanted.length === 0)
    return { kind: "none", reason: "no script for U-Boot on this architecture" };
  if (wanted.length > 0) return { kind: "none", reason: `none of ${wanted.join(", ")} is in boot-assets` };
  return { kind: "none", reason: `unknown architecture ${client.architectures.join(", ")}` };
}

function namesFor({ kind, arch }: Firmware, input: ChooseBootfileInput): readonly string[] {
  const { client, available, secureBoot } = input;
  // U-Boot runs on PCs too and says 0 there, but what it loads is no BIOS program.
  if (client.fingerprint === "uboot") return nbpNames.uboot[arch] ?? [];
  if (client.fingerprint === "uboot-uefi") return nbpNames.ubootUefi[arch] ?? [];
  switch (kind) {
    case "bios":
      return nbpNames.bios;
    case "uefi":
    case "uefi-http":
      // An iPXE without HTTP that runs shows that what nobody signed runs there.
      return client.speaker === "ipxe" ? uefiLoaders[arch].ipxe : uefiFirstStage(arch, secureBoot, available);
    case "uboot":
    case "uboot-http":
      return nbpNames.uboot[arch] ?? [];
    case "raspberry-pi":
      return nbpNames.raspberryPi;
  }
}
