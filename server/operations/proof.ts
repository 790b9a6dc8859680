import type { Boot, BootStepName } from "../domain/boot.ts";
import type { Claim } from "../domain/claim.ts";
import type { BootedImage, ImageFile } from "../domain/image.ts";
import type { OperationStep } from "../domain/operation.ts";

/** What a machine's role is made of now. */
export interface Expected {
  /** Undefined: its role boots no image. */
  readonly image: BootedImage | undefined;
  /** SHA-256 of each document of its role, rendered with its secrets masked. */
  readonly documents: Readonly<Record<string, string>>;
  /** Kernel arguments that put the root file system on a disk. */
  readonly diskRoots: readonly string[];
}

export interface ProofFacts {
  readonly boot: Boot;
  readonly claim: Claim | undefined;
  /** The role that it was to boot when it was ordered to. */
  readonly orderedRole: string | undefined;
  readonly expected: Expected;
  /** How it was switched; undefined: the server ended in the middle of the order. */
  readonly method: string | undefined;
  /** The server ran all through this boot, and so has seen all that was fetched. */
  readonly wasSeenWhole: boolean;
}

export interface Proof {
  /** What speaks against it; none: it is clean. */
  readonly problems: readonly string[];
  /** What may still come. */
  readonly open: readonly string[];
  readonly facts: OperationStep["facts"];
}

/** What our firmware side fetches of an image; where there is a file for UEFI, it is one of the two. */
const fetched: readonly (readonly [
  BootStepName,
  (files: BootedImage["files"]) => (ImageFile | undefined)[],
])[] = [
  ["kernel", ({ kernel, kernelEfi }) => [kernel, kernelEfi]],
  ["initrd", ({ initrd }) => [initrd]],
  ["rootfs", ({ rootfs }) => [rootfs]],
];

/**
 * What shows that a machine began anew, from the strongest. `board`: its board took the order, which nothing on the machine can feign.
 * `firmware`: this server saw its firmware begin by DHCP, which only somebody with full rights on the machine could play. `machine`: its
 * own word.
 */
export type RestartEvidence = "board" | "firmware" | "machine";

/** Steps that this server sees before anything of ours runs on the machine. */
const firmwareSteps: ReadonlySet<BootStepName> = new Set([
  "discover",
  "offer",
  "request",
  "nbp",
  "ipxe-dhcp",
]);

function restartOf({ method, boot }: Pick<ProofFacts, "method" | "boot">) {
  const seen = new Set(boot.steps.flatMap(({ step }) => (firmwareSteps.has(step) ? [step] : [])));
  const isBoard = method === "ipmi" || method === "redfish";
  const evidence: RestartEvidence = isBoard ? "board" : seen.size > 0 ? "firmware" : "machine";
  return {
    power: method ?? "unknown",
    evidence,
    ...(seen.size > 0 ? { firmware: [...seen].join(", ") } : {}),
  };
}

const short = (sha256: string) => sha256.slice(0, 12);

/**
 * Is what runs on a machine what its role is made of now, and nothing else? Told from what this server handed out in this boot, by digest,
 * to the one claim of the boot.
 */
export function judgeProof(known: ProofFacts): Proof {
  const { boot, claim, orderedRole, expected, wasSeenWhole } = known;
  const problems: string[] = [];
  const open: string[] = [];
  const { image } = expected;
  if (orderedRole !== undefined && orderedRole !== "" && boot.target !== orderedRole)
    problems.push(`it booted ${boot.target ?? "nothing"}, and ${orderedRole} stood for it`);
  if (!image) problems.push("its role boots no image, so nothing shows what runs on it");
  else {
    problems.push(...imageProblems(boot, image, wasSeenWhole));
    if (claim?.bootId === boot.id && claim.image?.version !== image.version)
      problems.push(
        `it booted version ${claim.image?.version ?? "?"} of ${image.name}, and ${image.version} is the current one`,
      );
  }
  if (expected.diskRoots.length > 0)
    problems.push(`its kernel was told a root file system on a disk: ${expected.diskRoots.join(" ")}`);
  const served = boot.steps.filter(({ step }) => step === "config");
  const compared: string[] = [];
  for (const { detail } of served) {
    const { document = "", digest } = detail;
    if (digest === undefined) continue;
    compared.push(String(digest));
    if (expected.documents[document] !== digest)
      problems.push(`the ${document} that it was served is not what its role gives now`);
  }
  const hasConfig = compared.length > 0 || Object.keys(expected.documents).length === 0;
  if (!hasConfig && wasSeenWhole) problems.push("it fetched no config in this boot");
  // What nobody saw is no problem after a restart of the server, and is never told as shown.
  const unseen = [
    ...(image ? unseenFiles(boot, image).map(([step]) => step) : []),
    ...(hasConfig ? [] : ["config"]),
  ];
  const rootStep = image?.files.rootfs ? "rootfs" : "initrd";
  if (claim?.bootId !== boot.id) problems.push("the claim of this boot is gone");
  else if (claim.spentAt === undefined) open.push("its claim is not spent yet");
  return {
    problems,
    open,
    facts: {
      boot: boot.id,
      role: boot.target ?? "",
      ...restartOf(known),
      ...(image
        ? {
            image: `${image.name} ${image.version}`,
            ...(unseen.includes("kernel") ? {} : { kernel: image.files.kernel.sha256 }),
            ...(unseen.includes(rootStep)
              ? {}
              : { root: image.files.rootfs?.sha256 ?? image.files.initrd?.sha256 ?? "" }),
          }
        : {}),
      ...(unseen.length === 0 ? {} : { unseen: unseen.join(", ") }),
      ...(compared[0] === undefined ? {} : { config: compared[0] }),
      claim: claim?.bootId === boot.id && claim.spentAt !== undefined ? "spent" : "open",
    },
  };
}

const seenOf = (boot: Boot, step: BootStepName) =>
  boot.steps.filter((entry) => entry.step === step && entry.detail["sha256"] !== undefined);

/** What the image has, and nobody saw the machine fetch. */
const unseenFiles = (boot: Boot, { files }: BootedImage) =>
  fetched.filter(
    ([step, filesOf]) => filesOf(files).some((file) => file !== undefined) && seenOf(boot, step).length === 0,
  );

function imageProblems(boot: Boot, image: BootedImage, wasSeenWhole: boolean): string[] {
  const { name, files } = image;
  const missing = wasSeenWhole ? unseenFiles(boot, image) : [];
  const problems = missing.map(([step]) => `it did not fetch the ${step} of ${name} from here`);
  for (const [step, filesOf] of fetched) {
    const wanted = filesOf(files).filter((file) => file !== undefined);
    if (wanted.length === 0) continue;
    for (const { detail } of seenOf(boot, step)) {
      const digest = String(detail["sha256"]);
      if (!wanted.some(({ sha256 }) => sha256 === digest))
        problems.push(
          `its ${step} is ${short(digest)}, and that of ${name} is ${short(wanted[0]?.sha256 ?? "")}`,
        );
    }
  }
  return problems;
}

/** `debian-node 7, root 1a2b3c4d5e6f in RAM, config 9f8e7d6c5b4a, claim spent` */
export function describeProof({ facts }: Proof): string {
  const { image, root, config, unseen } = facts;
  return [
    String(image ?? "no image"),
    ...(root ? [`root ${short(String(root))} in RAM`] : []),
    ...(config ? [`config ${short(String(config))}`] : []),
    "claim spent",
    ...(unseen === undefined ? [] : [`not seen since the server was started anew in this boot: ${unseen}`]),
  ].join(", ");
}
