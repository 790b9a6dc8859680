import {
  ArchMismatch,
  AssetNotFound,
  BootNotOpen,
  CommandLineTooLong,
  ContentUnavailable,
  ImageNotFound,
  LocalBootChosen,
  ParameterInvalid,
  RoleInvalid,
  RoleNeedsIpxe,
  RoleNotFound,
  TemplateFailed,
} from "../domain/error-catalogue.ts";
import { definedErrors } from "../domain/errors.ts";
import type { BootStep } from "../domain/boot.ts";
import type { Finding, Rule } from "./diagnosis.ts";
import { detailOf, eventsOf, type Reading, stepsNamed, stoppedAt } from "./evidence.ts";
import { otherServerCandidate } from "./network.ts";
import { tftpCandidate } from "./firmware.ts";
import { patienceAt, seenPatience } from "./patience.ts";
import { plural, seenEvent, seenRequest, seenStep, span } from "./wording.ts";

const tftpPatienceMs = 20_000;

const tftpBlocked: Rule = {
  code: "TFTP_BLOCKED",
  sentence:
    "The boot file can't be loaded by TFTP: the read request or this server's answers to it are lost on the way.",
  advice: [
    "Let UDP port 69 through, and the answers, which come from another port each time: firewalls need their TFTP part (nf_conntrack_tftp).",
    "`tftp.singlePort: true` sends the answers from port 69 itself, which gets through NAT and simple firewalls.",
  ],
  find(reading) {
    const { name, mode } = reading;
    const transfers = stepsNamed(reading, "nbp");
    const unheard = transfers.filter(
      ({ detail }) => detail["outcome"] === "timed-out" && detail["heard"] === 0,
    );
    if (unheard.length > 0 && unheard.length === transfers.length && stoppedAt(reading, "nbp", 0))
      return {
        certainty: "certain",
        what: `${name} asked for ${detailOf(unheard[0] as BootStep, "file")} by TFTP, and none of our answers reached it.`,
        seen: unheard.slice(-3).map(seenStep),
      };
    // Beside a proxy a REQUEST says nothing of us; on port 4011, or where this server gives the addresses, it does.
    const asked = stepsNamed(reading, "request").filter(
      ({ detail }) => detail["server"] === undefined && (mode === "authoritative" || detail["port"] === 4011),
    );
    const told = asked.filter(({ detail }) => detail["bootfile"] !== undefined);
    const isByHttp = told.some((step) => detailOf(step, "bootfile").startsWith("http"));
    if (told.length === 0 || !stoppedAt(reading, "request", tftpPatienceMs)) return undefined;
    return {
      certainty: "probable",
      what: `${name} was told its boot file and never came for it${isByHttp ? " over HTTP" : " by TFTP"}.`,
      seen: told.slice(-2).map(seenStep),
      ...(isByHttp
        ? {
            advice: [
              "Look whether TCP port `http.port` (8080) of this server can be reached from the machine's network.",
            ],
          }
        : {}),
      candidates: [
        isByHttp
          ? {
              ...tftpCandidate,
              code: "HTTP_UNREACHABLE",
              what: "this server's HTTP port can't be reached",
              tell: "the screen says that the connection timed out",
            }
          : tftpCandidate,
        otherServerCandidate,
      ],
    };
  },
};

const tftpBlocksLost: Rule = {
  code: "TFTP_BLOCKS_LOST",
  sentence:
    "TFTP begins and dies on the way: blocks of the size that was agreed on do not get through (MTU, tunnel, VLAN).",
  advice: [
    "Nothing at once: from its next try on the machine gets smaller blocks and windows by itself.",
    "For good: one MTU on the whole way, or a smaller one on this server's interface, from which the block size follows.",
  ],
  find(reading) {
    const { name, furthest } = reading;
    const transfers = stepsNamed(reading, "nbp", "contact").filter(
      ({ detail }) => detail["outcome"] !== undefined,
    );
    const lost = transfers.filter(({ detail }) => detail["outcome"] === "timed-out" && detail["heard"] !== 0);
    const told = eventsOf(reading, "tftp.fallback");
    const last = transfers.at(-1);
    if (lost.length === 0 && told.length === 0) return undefined;
    const isOver = last?.detail["outcome"] === "complete" || (furthest !== "nbp" && furthest !== "request");
    const size = lost.at(-1)?.detail["blockBytes"];
    return {
      certainty: isOver ? "noted" : "certain",
      what: isOver
        ? `${name} lost blocks by TFTP at first, and came through with smaller ones.`
        : `${name} began to load ${last ? detailOf(last, "file") : "its boot file"} by TFTP, and its blocks${size === undefined ? "" : ` of ${size} octets`} are lost on the way.`,
      seen: [...lost.slice(-3).map(seenStep), ...told.slice(-2).map(seenEvent)],
    };
  },
};

const fileNotFound: Rule = {
  code: "BOOT_FILE_NOT_FOUND",
  sentence:
    "The machine asks for a boot file by a name that there is none of here: somebody else names it, or boot-assets/ is not filled.",
  advice: [
    "Correct the name that the other DHCP server gives (option 67): `boot config dhcp-snippet` prints what it should be.",
    "`boot assets fill` fills boot-assets/ where the name is one of this server's.",
  ],
  find(reading) {
    const lost = stepsNamed(reading, "nbp").filter(({ detail }) => detail["outcome"] === "not-found");
    const last = lost.at(-1);
    const isComplete = stepsNamed(reading, "nbp").some(({ detail }) => detail["outcome"] === "complete");
    if (!last || isComplete || !stoppedAt(reading, "nbp", 0)) return undefined;
    return {
      certainty: "certain",
      what: `${reading.name} asked for the file ${JSON.stringify(detailOf(last, "file"))} by TFTP, and there is none.`,
      seen: lost.slice(-3).map(seenStep),
    };
  },
};

/** The newest script of the boot told an error. */
export function scriptFault(
  reading: Reading,
  ...codes: string[]
): Pick<Finding, "what" | "seen" | "advice"> | undefined {
  if (!reading.boot || reading.isThrough) return undefined;
  const last = reading.boot.steps.findLast(
    ({ step }) => step === "script" || step === "wait" || step === "kernel",
  );
  const code = last && detailOf(last, "code");
  if (!last || !code || (codes.length > 0 && !codes.includes(code))) return undefined;
  const told = eventsOf(reading, "script.failed").findLast(({ data }) => data["code"] === code);
  const advice = definedErrors().get(code)?.definition.advice;
  return {
    what: `${told?.message ?? `${reading.name}: its script could not be made`} (${code}).`,
    seen: [seenStep(last), ...(told ? [seenEvent(told)] : [])],
    ...(advice === undefined ? {} : { advice: [advice] }),
  };
}

const ofScript = (code: string, sentence: string, advice: Rule["advice"], ...codes: string[]): Rule => ({
  code,
  sentence,
  advice,
  ...(codes.length === 0 ? { isGeneral: true } : {}),
  find(reading) {
    const fault = scriptFault(reading, ...codes);
    return fault && { certainty: "certain", ...fault };
  },
});

const roleBroken = ofScript(
  "ROLE_BROKEN",
  "The role that the machine is assigned is broken or gone, so that no script can be made of it.",
  ["`boot role lint` says file, line and column; the machine asks again by itself."],
  RoleInvalid.code,
  RoleNotFound.code,
  TemplateFailed.code,
  ParameterInvalid.code,
  CommandLineTooLong.code,
);
const imageGone = ofScript(
  "NO_IMAGE",
  "The image of the machine's role is not here, or a file of it is gone.",
  [
    "`boot image list` shows what there is; `boot image import` brings it back, and the machine asks again by itself.",
  ],
  ImageNotFound.code,
  AssetNotFound.code,
  ContentUnavailable.code,
);
const wrongArchitecture = ofScript(
  "WRONG_ARCHITECTURE",
  "The role or its image is made for another architecture than the machine has.",
  ["Assign it a role of its own architecture: `boot role list` and `boot image list` show them."],
  ArchMismatch.code,
);
const needsIpxe = ofScript(
  "ROLE_NEEDS_IPXE",
  "The machine has Secure Boot on and so gets GRUB, and its role is a script that only iPXE understands.",
  ["Give it a role with an image, or switch Secure Boot off in its firmware."],
  RoleNeedsIpxe.code,
);
const scriptRefused = ofScript(
  "SCRIPT_REFUSED",
  "The machine came for its script and got one that prints an error.",
  ["The same code and advice stand on the machine's screen; docs/errors.md lists all codes."],
);

const identityRefused: Rule = {
  code: "IDENTITY_REFUSED",
  sentence:
    "Somebody asked for the machine's script from an address that is not shown to be the machine's, and did not get it.",
  advice: [
    "If it is the machine itself: let this server hear its DHCP (no other way gives it an address), or stand in the same network, where ARP shows whose an address is.",
    "If it is not: somebody in that network plays this machine. The event names the address and the MAC that it belongs to.",
  ],
  find(reading) {
    const told = eventsOf(reading, "mac.unverified", "mac.contradicted").concat(
      eventsOf(reading, "script.failed").filter(({ data }) => data["code"] === BootNotOpen.code),
    );
    const last = told.at(-1);
    if (!last || reading.isThrough) return undefined;
    const isStopped = stepsNamed(reading, "script", "wait", "kernel").every(({ at }) => at < last.at);
    if (!isStopped) return undefined;
    return {
      certainty: last.type === "mac.contradicted" ? "noted" : "probable",
      what: `${last.message}.`,
      seen: told.slice(-3).map(seenEvent),
      candidates: [
        {
          code: "IDENTITY_REFUSED",
          what: "it is the machine, and nothing here shows that",
          tell: "the address of the event is the one on the machine's screen",
        },
        {
          code: "IMPOSTOR",
          what: "another host asks in its name",
          tell: "the address belongs to another MAC (`ip neigh`)",
        },
      ],
    };
  },
};

const scriptNotFound: Rule = {
  code: "SCRIPT_NOT_FOUND",
  sentence: "The machine asks this server for a script or file by an address that there is none of (404).",
  advice: [
    "Correct the address where it is written: in the other DHCP server's boot file (it is http://SERVER:8080/boot.ipxe), in a script of your own, or in a role's `ipxe` template.",
  ],
  find(reading) {
    const lost = reading.requestsOfBoot.filter(
      ({ status, code }) => status === 404 && code !== LocalBootChosen.code,
    );
    const last = lost.at(-1);
    if (!last || reading.isThrough) return undefined;
    const isAsset = last.path.startsWith("/assets/");
    // What came after it shows that it did without.
    const hasGoneOn = reading.boot?.steps.some(({ at }) => at > last.at + 1000) ?? false;
    return {
      certainty: hasGoneOn ? "noted" : "certain",
      what: `${reading.name} asked for ${last.path}, and there is no such ${isAsset ? "content (any more)" : "address"} here.`,
      seen: lost.slice(-3).map(seenRequest),
      ...(isAsset
        ? {
            advice: [
              "The image was removed while it booted, or its script is an old one: switch the machine on anew. `boot image list` shows what there is.",
            ],
          }
        : {}),
    };
  },
};

const ownScriptFailed: Rule = {
  code: "OWN_SCRIPT_FAILED",
  sentence:
    "The machine was sent to a script of somebody's own by its URL and came back: it could not load it.",
  advice: [
    "Ask for the URL from a machine of that network (`curl -I URL`): it has to answer 200 over plain HTTP, by an address and not a name.",
  ],
  find(reading) {
    const { boot, name } = reading;
    const scripts = stepsNamed(reading, "script");
    if (
      !boot?.target?.includes("://") ||
      scripts.length < 2 ||
      reading.isThrough ||
      reading.furthest !== "script"
    )
      return undefined;
    return {
      certainty: "probable",
      what: `${name} was sent to ${boot.target} and came back ${plural(scripts.length - 1, "time")}.`,
      seen: scripts.slice(-3).map(seenStep),
      candidates: [
        {
          code: "OWN_SCRIPT_FAILED",
          what: "it can't load that URL",
          tell: "its screen shows an error of iPXE behind the URL (404, timed out)",
        },
        {
          code: "OWN_SCRIPT_ENDED",
          what: "the script was loaded and ended with an error",
          tell: "its screen shows lines of the script itself",
        },
      ],
    };
  },
};

const scriptSilent: Rule = {
  code: "NOTHING_AFTER_SCRIPT",
  sentence: "The machine has its script, and has not asked for the kernel in it.",
  advice: [
    "Look at its screen: iPXE prints why it could not load the kernel, and tries again, longer each time.",
  ],
  find(reading) {
    const last = stepsNamed(reading, "script").at(-1);
    const isUrl = reading.boot?.target?.includes("://") ?? false;
    if (
      !last ||
      isUrl ||
      last.detail["code"] !== undefined ||
      !stoppedAt(reading, "script", patienceAt(reading, "script"))
    )
      return undefined;
    return {
      certainty: "probable",
      what: `${reading.name} has its script since ${span(reading.now - last.at)} and has not asked for a kernel.`,
      seen: [seenStep(last), ...seenPatience(reading, "script")],
      candidates: [
        {
          code: "HTTP_UNREACHABLE",
          what: "the script reached it and its next request does not reach this server",
          tell: "its screen shows errors of iPXE behind the kernel's address",
        },
        { code: "LOADER_HUNG", what: "iPXE hangs", tell: "its screen stands still" },
      ],
    };
  },
};

export const loadingRules: readonly Rule[] = [
  tftpBlocked,
  tftpBlocksLost,
  fileNotFound,
  roleBroken,
  imageGone,
  wrongArchitecture,
  needsIpxe,
  identityRefused,
  scriptRefused,
  scriptNotFound,
  ownScriptFailed,
  scriptSilent,
];
