import type { BootStepName } from "../domain/boot.ts";
import { MachineTooSmall } from "../domain/error-catalogue.ts";
import { machineCodes } from "../domain/reported-codes.ts";
import type { Candidate, Rule } from "./diagnosis.ts";
import { detailOf, type Reading, stepsNamed, stoppedAt, wentOnAfter } from "./evidence.ts";
import { scriptFault } from "./loading.ts";
import { patienceAt, seenPatience } from "./patience.ts";
import { megabytes, seenStep } from "./wording.ts";

/** Our initramfs tells its progress, however long all of it takes: it is silent for so long only where it is lost. */
const rootPatienceMs = 3 * 60_000;

const isStoppedAt = (reading: Reading, ...steps: readonly BootStepName[]): boolean =>
  steps.some((step) => stoppedAt(reading, step, patienceAt(reading, step)));

/** Codes of our initramfs that a too small memory is behind. */
const ramCodes = ["RAM_TOO_SMALL", "NODE_FILES_FAILED"];

const kernelTooBig: Rule = {
  code: "RAM_TOO_SMALL",
  sentence: "What the machine is to load does not fit into its memory.",
  advice: [
    "Give it more RAM, or a role with a smaller image; `minimumRam` in role.yaml says so before it boots.",
    "To try all the same: `boot machine edit NAME --ram-check ignore`.",
  ],
  find(reading) {
    const { machine, name, boot, firstLoadBytes } = reading;
    const fault = scriptFault(reading, MachineTooSmall.code);
    if (fault) return { certainty: "certain", ...fault };
    const reported = stepsNamed(reading, "failed").findLast((step) =>
      ramCodes.includes(detailOf(step, "code")),
    );
    if (reported && !reading.isThrough)
      return {
        certainty: wentOnAfter(reading, reported) ? "noted" : "certain",
        what: `${name} said: ${boot?.verdict ?? detailOf(reported, "code")}.`,
        seen: [seenStep(reported)],
      };
    const ramBytes = machine?.ramBytes;
    const loads = stepsNamed(reading, "kernel", "initrd");
    const isStopped = isStoppedAt(reading, "initrd", "kernel");
    // An initrd lies there as it came and unpacked, and the kernel needs some for itself.
    if (!isStopped || ramBytes === undefined || firstLoadBytes === undefined || 3 * firstLoadBytes < ramBytes)
      return undefined;
    return {
      certainty: "probable",
      what: `${name} has ${megabytes(ramBytes)} of RAM, loaded ${megabytes(firstLoadBytes)} of kernel and initrd, and was not heard of again.`,
      seen: [...loads.slice(-2).map(seenStep), ...seenPatience(reading, "initrd")],
      candidates: [
        {
          code: "RAM_TOO_SMALL",
          what: "the unpacked initrd does not fit into its RAM",
          tell: 'its screen says "Initramfs unpacking failed", "Out of memory" or "Could not allocate"',
        },
        kernelSilentCandidate,
      ],
    };
  },
};

const kernelSilentCandidate: Candidate = {
  code: "KERNEL_SILENT",
  what: "the kernel has no driver for the network card, or stops on this hardware",
  tell: "its screen shows a kernel panic, or the initramfs that waits for a network device",
};

const imageDigest: Rule = {
  code: "WRONG_IMAGE_DIGEST",
  sentence: "A file of the image arrived other than the store has it: its digest is wrong.",
  advice: [
    machineCodes["ROOTFS_DIGEST_MISMATCH"] ?? "",
    "`boot registry check` and `boot events --type registry.damaged` say whether this server's disk has changed it.",
  ],
  find(reading) {
    const reported = stepsNamed(reading, "failed").filter(
      (step) => detailOf(step, "code") === "ROOTFS_DIGEST_MISMATCH",
    );
    const last = reported.at(-1);
    if (!last || reading.isThrough) return undefined;
    const hasVerified = wentOnAfter(reading, last);
    return {
      certainty: hasVerified ? "noted" : "certain",
      what: `${reading.name} said: ${reading.boot?.verdict ?? "the root image has another digest than it should"}.`,
      seen: reported.slice(-3).map(seenStep),
    };
  },
};

const firstLoadSilent: Rule = {
  code: "KERNEL_SILENT",
  sentence: "Kernel and initrd were loaded, and nothing of the system in them was heard.",
  advice: [
    "Look at the machine's screen: a kernel panic names its reason, an initramfs without a network names the card.",
    "Try the role `rescue`: when that boots, the image of the other role lacks something for this hardware.",
  ],
  isGeneral: true,
  find(reading) {
    const { name, firstLoadBytes, machine } = reading;
    const isStopped = isStoppedAt(reading, "initrd", "kernel", "node");
    const loads = stepsNamed(reading, "kernel", "node", "initrd");
    if (!isStopped) return undefined;
    const isTight = machine?.ramBytes === undefined || 6 * (firstLoadBytes ?? 0) > machine.ramBytes;
    return {
      certainty: "probable",
      what: `${name} loaded its ${reading.furthest === "kernel" ? "kernel" : "kernel and initrd"}, and nothing was heard since.`,
      seen: [...loads.slice(-3).map(seenStep), ...seenPatience(reading, "initrd")],
      candidates: [
        kernelSilentCandidate,
        isTight
          ? {
              code: "RAM_TOO_SMALL",
              what: "it has too little RAM for them",
              tell: 'its screen says "Out of memory", "Could not allocate" or "Initramfs unpacking failed"',
            }
          : {
              code: "SWITCHED_OFF",
              what: "somebody switched it off just then",
              tell: "it is off, and the next start gets further",
            },
      ],
    };
  },
};

const rootFailed: Rule = {
  code: "ROOT_NOT_LOADED",
  sentence: "The initramfs could not load or mount the root file system.",
  advice: [
    "The machine reports why; `boot machine show NAME` prints it with what to do. It tries again by itself.",
  ],
  find(reading) {
    const { name, boot, furthest } = reading;
    const reported = stepsNamed(reading, "failed").findLast((step) =>
      detailOf(step, "code").startsWith("ROOTFS_"),
    );
    if (reported && !reading.isThrough) {
      const advice = machineCodes[detailOf(reported, "code")];
      return {
        certainty: wentOnAfter(reading, reported) ? "noted" : "certain",
        what: `${name} said: ${boot?.verdict ?? detailOf(reported, "code")}.`,
        seen: [seenStep(reported)],
        ...(advice === undefined ? {} : { advice: [advice] }),
      };
    }
    const isInRoot = furthest === "network" || furthest === "rootfs" || furthest === "verify";
    const isLost = isInRoot && (boot?.outcome !== "running" || (reading.silentMs ?? 0) > rootPatienceMs);
    if (!isLost || reading.isThrough) return undefined;
    return {
      certainty: "probable",
      what: `${name} was loading its root file system and was not heard of again.`,
      seen: stepsNamed(reading, "network", "rootfs", "verify").slice(-3).map(seenStep),
      candidates: [
        {
          code: "CONNECTION_LOST",
          what: "its network went away",
          tell: "its screen counts tries, and the link light is off",
        },
        {
          code: "SWITCHED_OFF",
          what: "it was switched off or hangs",
          tell: "its screen is dark or stands still",
        },
      ],
    };
  },
};

export const kernelRules: readonly Rule[] = [kernelTooBig, imageDigest, rootFailed, firstLoadSilent];
