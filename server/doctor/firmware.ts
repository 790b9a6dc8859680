import type { BootStep } from "../domain/boot.ts";
import { uefiLoaders } from "../domain/uefi-loaders.ts";
import type { Candidate, Rule } from "./diagnosis.ts";
import { detailOf, eventsOf, type Reading, stepsNamed, stoppedAt } from "./evidence.ts";
import { isBootFileReason, otherServerCandidate } from "./network.ts";
import { patienceAt, seenPatience } from "./patience.ts";
import { seenEvent, seenPacket, seenStep, span } from "./wording.ts";

/** UEFI asks port 4011 at once and repeats itself for some seconds (EDK2 PxeBcDhcp4.c). */
const bootServerPatienceMs = 20_000;
/** iPXE waits so long for the second offer (config/dhcp.h, firmware-quirk Q13). */
const secondOfferMs = 2000;
const ipxePatienceMs = 15_000;

const isUefi = ({ firmware }: Reading): boolean => firmware?.kind === "uefi";

/** REQUESTs of the firmware that name another server, as every client's does in proxy mode. */
function choseAnother(reading: Reading): readonly BootStep[] {
  return stepsNamed(reading, "request").filter(({ detail }) => detail["server"] !== undefined);
}

const neverTo4011: Rule = {
  code: "NEVER_CAME_TO_4011",
  sentence:
    "UEFI took its address from the other server, and never asked this one on port 4011 for its boot file.",
  advice: [
    "Look whether UDP port 4011 of this server can be reached from the machine's network: a firewall or a router between the two has to let it through.",
    "Else let the server that gives the addresses name the boot file: `boot config dhcp-snippet`.",
  ],
  find(reading) {
    const chosen = choseAnother(reading);
    const asked4011 = stepsNamed(reading, "request").some(({ detail }) => detail["port"] === 4011);
    const isOffered = stepsNamed(reading, "offer").some(({ detail }) => detail["bootfile"] !== undefined);
    if (reading.mode !== "proxy" || !isUefi(reading) || chosen.length === 0 || asked4011 || !isOffered)
      return undefined;
    if (!stoppedAt(reading, "request", bootServerPatienceMs)) return undefined;
    return {
      certainty: "probable",
      what: `${reading.name} took its address from ${detailOf(chosen[0] as BootStep, "server")} and never came to port 4011 of this server for its boot file.`,
      seen: [...stepsNamed(reading, "offer").slice(-1), ...chosen.slice(-2)].map(seenStep),
      candidates: [
        {
          code: "PORT_4011_BLOCKED",
          what: "its question to port 4011 does not arrive here",
          tell: "a capture on this server (`tcpdump -n udp port 4011`) shows nothing while the screen says PXE-E55, or waits",
        },
        {
          code: "PROXY_OFFER_IGNORED",
          what: "its firmware took no notice of our offer",
          tell: "it stops at once, or goes on with the next boot device, and says nothing of a boot server",
        },
        otherServerCandidate,
      ],
    };
  },
};

const otherBootFile: Rule = {
  code: "BOOT_FILE_OF_OTHER_SERVER",
  sentence:
    "The machine took its address from the other DHCP server, and nothing of this one's: most often that server names a boot file too.",
  advice: [
    "Take the boot options (next-server, 66, 67) away from the other DHCP server, or let them name this server: `boot config dhcp-snippet`.",
    "Look whether UDP port 69 of this server can be reached from the machine's network.",
  ],
  find(reading) {
    const chosen = choseAnother(reading);
    if (reading.mode !== "proxy" || isUefi(reading) || chosen.length === 0) return undefined;
    if (stepsNamed(reading, "request").length > chosen.length) return undefined;
    if (!stoppedAt(reading, "request", bootServerPatienceMs)) return undefined;
    return {
      certainty: "probable",
      what: `${reading.name} took its address from ${detailOf(chosen[0] as BootStep, "server")} and never asked this server for its boot file.`,
      seen: [...stepsNamed(reading, "offer").slice(-1), ...chosen.slice(-2)].map(seenStep),
      candidates: [otherServerCandidate, tftpCandidate],
    };
  },
};

/** Of a read request that was never heard. */
export const tftpCandidate: Candidate = {
  code: "TFTP_BLOCKED",
  what: "its read request to UDP port 69 of this server is lost on the way",
  tell: "the screen says PXE-E32 (TFTP open timeout), and a capture here (`tcpdump -n udp port 69`) shows nothing",
};

const noBootFile: Rule = {
  code: "NO_BOOT_FILE",
  sentence:
    "There is no first-stage program for the machine's architecture here, or it may not boot from the network.",
  advice: [
    "`boot assets fill` fills boot-assets/; docs/firmware.md lists the architectures that there are programs for.",
    "A machine that was retired, or that nobody knows where `unknownMachines: ignore` is set, gets no boot file: add or accept it.",
  ],
  find(reading) {
    // An authoritative server gives it an address all the same.
    const silent = reading.packetsOfBoot.filter(
      ({ speaker, silence, reply, bootfile, message }) =>
        isBootFileReason(silence) ||
        (speaker === "firmware" && message === "DISCOVER" && reply === "OFFER" && bootfile === undefined),
    );
    const last = silent.at(-1);
    const isStopped = (["discover", "offer", "request"] as const).some((step) => stoppedAt(reading, step, 0));
    const isOffered = reading.packetsOfBoot.some(
      ({ bootfile, at }) => bootfile !== undefined && at > (last?.at ?? 0),
    );
    if (!last || !isStopped || isOffered) return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} asked for a boot file and there is none for it${last.silence === undefined ? "" : `: ${last.silence}`}.`,
      seen: silent.slice(-3).map(seenPacket),
    };
  },
};

const secondOffer: Rule = {
  code: "IPXE_NO_SECOND_OFFER",
  sentence: "iPXE got an address and no second offer, with its boot file, within 2 seconds.",
  advice: [
    "Load this server's own build of iPXE first (`boot-assets/`): its scripts ask again until they have both offers.",
    "Let the server that gives the addresses name the boot file for iPXE too (`boot config dhcp-snippet`): then no second offer is needed.",
  ],
  find(reading) {
    const { mode, name, packetsOfBoot } = reading;
    if (mode !== "proxy" || !stoppedAt(reading, "ipxe-dhcp", ipxePatienceMs)) return undefined;
    const asked = packetsOfBoot.filter(({ speaker }) => speaker === "ipxe");
    const discovers = asked.filter(({ message }) => message === "DISCOVER");
    const chosen = asked.filter(({ foreignServer }) => foreignServer !== undefined);
    if (discovers.length === 0 || chosen.length === 0) return undefined;
    const inTime = discovers.filter(({ reply, serverMs }) => reply !== undefined && serverMs < secondOfferMs);
    const seen = asked.slice(-4).map(seenPacket);
    if (inTime.length === 0) {
      const late = discovers.find(({ reply }) => reply !== undefined);
      const why = late
        ? `our offer left ${span(late.serverMs)} after its question`
        : `this server did not answer it: ${discovers.at(-1)?.silence ?? "no reason is known"}`;
      return {
        certainty: "certain",
        what: `${name} runs iPXE, which had its address and no boot file within 2 s: ${why}.`,
        seen,
      };
    }
    return {
      certainty: "probable",
      what: `${name} runs iPXE, which took its address from the other server and never came for its script.`,
      seen,
      candidates: [
        {
          code: "IPXE_NO_SECOND_OFFER",
          what: "our offer reached it after the 2 s that it waits, or not at all",
          tell: 'its screen says "No filename or root path specified" or "Nothing to boot"',
        },
        httpCandidate,
      ],
    };
  },
};

const httpCandidate: Candidate = {
  code: "HTTP_UNREACHABLE",
  what: "it has its boot file's address and can't reach this server's HTTP port",
  tell: 'its screen says "Connection timed out" or "Connection refused" behind the address of this server',
};

const httpUnreachable: Rule = {
  code: "HTTP_UNREACHABLE",
  sentence: "iPXE has an address and the address of its script, and does not come for it over HTTP.",
  advice: [
    "Look whether TCP port `http.port` (8080) of this server can be reached from the machine's network: `curl http://SERVER:8080/boot.ipxe` from a machine there.",
    "Look whether `address` in the config is the one that machines reach this server by.",
  ],
  find(reading) {
    const { mode, name, packetsOfBoot } = reading;
    if (mode !== "authoritative" || !stoppedAt(reading, "ipxe-dhcp", ipxePatienceMs)) return undefined;
    const acked = packetsOfBoot.filter(({ speaker, reply }) => speaker === "ipxe" && reply === "ACK");
    if (acked.length === 0) return undefined;
    return {
      certainty: "probable",
      what: `${name} runs iPXE, has its address from here, and never came for its script.`,
      seen: acked.slice(-2).map(seenPacket),
      candidates: [
        httpCandidate,
        {
          code: "LOADER_HUNG",
          what: "iPXE hangs in the driver of the network card",
          tell: 'its screen stands still at "Configuring" or "initialising devices"',
        },
      ],
    };
  },
};

/** Names of what nobody signed, and of what Microsoft did. */
const unsigned = new Set(Object.values(uefiLoaders).flatMap(({ ipxe }) => ipxe));
const shims = new Set(Object.values(uefiLoaders).flatMap(({ signed }) => (signed ? [signed.shim] : [])));

const secureBoot: Rule = {
  code: "SECURE_BOOT_REFUSED",
  sentence:
    "The firmware loaded its first-stage program and did not start it: with Secure Boot it starts only what it trusts.",
  advice: [
    "Put shim and GRUB into boot-assets/ (`boot assets fill`): machines with Secure Boot get them first (docs/firmware.md).",
    'Or switch Secure Boot off in the firmware; "Microsoft 3rd party UEFI CA" has to be on there for shim.',
  ],
  find(reading) {
    const { boot, machine, name } = reading;
    const files = stepsNamed(reading, "nbp").filter(
      ({ detail }) => (detail["outcome"] ?? "complete") === "complete",
    );
    const last = files.at(-1);
    if (
      !boot ||
      !last ||
      !reading.firmware?.kind.startsWith("uefi") ||
      !stoppedAt(reading, "nbp", patienceAt(reading, "nbp"))
    )
      return undefined;
    const file = detailOf(last, "file").split("/").at(-1) ?? "";
    const isShim = shims.has(file);
    if (!(isShim || unsigned.has(file)) || machine?.secureBoot === false) return undefined;
    const hung = eventsOf(reading, "boot.driver");
    if (machine?.secureBoot === true && !isShim)
      return {
        certainty: "certain",
        what: `${name} has Secure Boot on and was given ${file}, which nobody signed: its firmware refuses it.`,
        seen: [seenStep(last)],
      };
    return {
      certainty: "probable",
      what: `${name} loaded ${file} and was not heard of again: its firmware did not start it, or it hangs.`,
      seen: [
        ...files.slice(-2).map(seenStep),
        ...hung.slice(-1).map(seenEvent),
        ...seenPatience(reading, "nbp"),
      ],
      candidates: [
        {
          code: "SECURE_BOOT_REFUSED",
          what: isShim
            ? "its firmware does not trust Microsoft's authority for others (3rd party UEFI CA)"
            : "Secure Boot is on",
          tell: 'its screen says "Access Denied", "Security Violation" or "Verification failed"',
        },
        loaderHung,
      ],
    };
  },
};

const loaderHung: Candidate = {
  code: "LOADER_HUNG",
  what: "the program hangs in the driver of the network card",
  tell: 'its screen stands still at "iPXE initialising devices"; another driver helps: `boot machine edit NAME --driver ipxe`',
};

const loaderSilent: Rule = {
  code: "LOADER_HUNG",
  sentence: "The machine loaded its first-stage program and nothing of that program was heard.",
  advice: [
    "Try the program with the other driver: `boot machine edit NAME --driver ipxe` or `--driver snponly`; after two such boots the server changes it by itself.",
  ],
  find(reading) {
    const { name, machine } = reading;
    const files = stepsNamed(reading, "nbp").filter(
      ({ detail }) => (detail["outcome"] ?? "complete") === "complete",
    );
    const last = files.at(-1);
    const isKnownNotSecure =
      reading.firmware?.kind.startsWith("uefi") !== true || machine?.secureBoot === false;
    if (!last || !isKnownNotSecure || !stoppedAt(reading, "nbp", patienceAt(reading, "nbp")))
      return undefined;
    return {
      certainty: "probable",
      what: `${name} loaded ${detailOf(last, "file")} and was not heard of again.`,
      seen: [
        seenStep(last),
        ...eventsOf(reading, "boot.driver").slice(-1).map(seenEvent),
        ...seenPatience(reading, "nbp"),
      ],
      candidates: [
        loaderHung,
        {
          code: "SWITCHED_OFF",
          what: "somebody switched it off just then",
          tell: "it is off, and the next start gets further",
        },
      ],
    };
  },
};

const bootsFromDisk: Rule = {
  code: "BOOTS_FROM_DISK",
  sentence:
    "Only an operating system of the machine asked for an address: it starts from its disk and not from the network.",
  advice: [
    "Put network boot (PXE, IPv4) first in the firmware's boot order; `Fast boot` off, where it leaves the network out.",
  ],
  find({ boot, packets, name }) {
    const last = packets.at(-1);
    if (boot || !last || packets.some(({ speaker }) => speaker !== "os")) return undefined;
    return {
      certainty: "certain",
      what: `${name} is on and in reach, and only the system on its disk asked for an address.`,
      seen: packets.slice(-3).map(seenPacket),
    };
  },
};

export const firmwareRules: readonly Rule[] = [
  noBootFile,
  secureBoot,
  neverTo4011,
  otherBootFile,
  secondOffer,
  httpUnreachable,
  loaderSilent,
  bootsFromDisk,
];
