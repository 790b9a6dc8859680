import type { Clock, EpochMs, Ids } from "../domain/capabilities.ts";
import { parseDigest } from "../registry/digest.ts";
import { OciError } from "../registry/oci-error.ts";
import type { Registry } from "../registry/registry.ts";
import { isRepositoryName, isTag, withoutOwnHost } from "../registry/repository-name.ts";
import { thisServer } from "./audience.ts";
import type { Download } from "./download.ts";
import type { PullThrough } from "./pull-through.ts";
import { Slots } from "./slots.ts";
import { UpstreamFault } from "./upstream-fault.ts";
import type { Place } from "./upstream.ts";
import type { UpstreamSignatures } from "./upstream-signatures.ts";

export interface PrewarmDeps {
  readonly clock: Pick<Clock, "now">;
  readonly ids: Pick<Ids, "id">;
  readonly registry: Pick<Registry, "findManifest" | "readManifest">;
  readonly pull: PullThrough;
  readonly signatures: UpstreamSignatures;
  /** What this registry is called, with a port where there is one. */
  readonly hosts: readonly string[];
}

/** An image that is to be here before a room asks for it. */
export interface ImageReference {
  /** As it was written. */
  readonly text: string;
  readonly repository: string;
  /** Tag or digest. */
  readonly reference: string;
}

export interface PrewarmProgress {
  readonly id: string;
  readonly state: "running" | "done" | "failed";
  readonly startedAt: EpochMs;
  readonly endedAt: EpochMs | undefined;
  readonly images: readonly {
    readonly reference: string;
    readonly state: "waiting" | "running" | "done" | "failed";
    /** Of what is known of it so far: manifests tell, one after another. */
    readonly totalBytes: number;
    readonly doneBytes: number;
    readonly problem: string | undefined;
  }[];
}

interface ImageWork {
  readonly image: ImageReference;
  state: "waiting" | "running" | "done" | "failed";
  totalBytes: number;
  doneBytes: number;
  problem: string | undefined;
  readonly downloads: Set<Download>;
}

interface Job {
  readonly id: string;
  readonly startedAt: EpochMs;
  endedAt: EpochMs | undefined;
  readonly platform: string | undefined;
  readonly images: readonly ImageWork[];
}

/** Jobs that are remembered. */
const keptJobs = 100;
/** Images at once, of all jobs, and how many wait. */
const imagesAtOnce = 2;
const mostWaiting = 1000;
const blobsAtOnce = 4;
/** Levels of indexes in indexes. */
const deepestIndex = 4;

interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly os?: string; readonly architecture?: string; readonly variant?: string };
}
interface Manifest {
  readonly config?: Descriptor;
  readonly layers?: readonly Descriptor[];
  readonly manifests?: readonly Descriptor[];
}

/**
 * Reads `docker.io/library/alpine:3.20`, also with this registry's host before it.
 * @param hosts what this registry is called @returns undefined for what is none
 */
function parseImageReference(text: string, hosts: readonly string[]): ImageReference | undefined {
  const path = withoutOwnHost(text.replace(/^docker:\/\//, ""), hosts);
  const [named = "", digest] = path.split("@", 2);
  const colon = named.indexOf(":", named.lastIndexOf("/"));
  const repository = colon < 0 ? named : named.slice(0, colon);
  const tag = colon < 0 ? "latest" : named.slice(colon + 1);
  const reference = digest ?? tag;
  if (!isRepositoryName(repository) || !isTag(tag)) return undefined;
  return digest === undefined || parseDigest(digest) ? { text, repository, reference } : undefined;
}

/** Fetches images of upstreams before somebody asks for them. */
export function createPrewarm({ clock, ids, registry, pull, signatures, hosts }: PrewarmDeps) {
  const jobs = new Map<string, Job>();
  const images = new Slots({
    atOnce: imagesAtOnce,
    waiting: mostWaiting,
    perAddress: { atOnce: imagesAtOnce, waiting: mostWaiting },
  });

  async function fetchAll(place: Place, blobs: readonly Descriptor[], work: ImageWork): Promise<void> {
    const waiting = [...blobs];
    const worker = async (): Promise<void> => {
      for (let blob = waiting.shift(); blob; blob = waiting.shift()) {
        const digest = parseDigest(blob.digest);
        if (!digest) continue;
        let running: Download | undefined;
        await pull.fetchBlob(place, digest, (download) => {
          running = download;
          work.downloads.add(download);
        });
        if (running) work.downloads.delete(running);
        work.doneBytes += blob.size;
      }
    };
    await Promise.all(Array.from({ length: blobsAtOnce }, worker));
  }

  async function fetchImage(
    place: Place,
    reference: string,
    work: ImageWork,
    { platform, depth }: { readonly platform: string | undefined; readonly depth: number },
  ): Promise<void> {
    const { repository } = place;
    const { passed } = await pull.prepareManifest(place, reference, thisServer);
    if (passed) throw new Error("neither the disk nor registry.cacheBytes has room for it");
    const { digest } = registry.findManifest(repository, reference);
    const manifest = JSON.parse((await registry.readManifest(digest)).toString()) as Manifest;
    // Also those of an index: some clients ask for them.
    await signatures.passedOn(repository, digest, thisServer);
    const blobs = [manifest.config, ...(manifest.layers ?? [])].filter((one) => one !== undefined);
    work.totalBytes += blobs.reduce((sum, { size }) => sum + size, 0);
    await fetchAll(place, blobs, work);
    const children = (manifest.manifests ?? []).filter((child) => isWanted(child, platform));
    if (manifest.manifests && children.length === 0)
      throw new OciError(
        "MANIFEST_UNKNOWN",
        `there is no such image for ${platform}, only for ${platformsOf(manifest.manifests)}`,
      );
    if (children.length > 0 && depth === 0) throw new Error("its indexes are nested too deep");
    for (const child of children) await fetchImage(place, child.digest, work, { platform, depth: depth - 1 });
  }

  async function runImage(work: ImageWork, platform: string | undefined): Promise<void> {
    const { repository, reference } = work.image;
    try {
      const place = pull.upstreams.find(repository);
      if (!place) throw new OciError("NAME_UNKNOWN", nowhere(pull.upstreams.all.map(({ prefix }) => prefix)));
      const leave = await images.take();
      work.state = "running";
      try {
        await fetchImage(place, reference, work, { platform, depth: deepestIndex });
      } finally {
        leave();
      }
      work.state = "done";
    } catch (error) {
      work.state = "failed";
      // What could be given instead matters to whoever pulls; here there is nobody.
      work.problem =
        error instanceof UpstreamFault ? `${error.upstream.url} ${error.problem}` : (error as Error).message;
    }
    work.downloads.clear();
  }

  return {
    /** @returns undefined for what is no name of an image */
    read: (text: string): ImageReference | undefined => parseImageReference(text, hosts),

    /** @param platform `linux/amd64` or `linux/arm64/v8`; undefined: all */
    start(references: readonly ImageReference[], platform: string | undefined): PrewarmProgress {
      const job: Job = {
        id: ids.id("op"),
        startedAt: clock.now(),
        endedAt: undefined,
        platform,
        images: references.map((image) => ({
          image,
          state: "waiting",
          totalBytes: 0,
          doneBytes: 0,
          problem: undefined,
          downloads: new Set(),
        })),
      };
      jobs.set(job.id, job);
      for (const [id, old] of jobs) if (jobs.size > keptJobs && old.endedAt !== undefined) jobs.delete(id);
      void Promise.all(job.images.map((work) => runImage(work, platform))).then(
        () => (job.endedAt = clock.now()),
      );
      return viewOf(job);
    },

    find(id: string): PrewarmProgress | undefined {
      const job = jobs.get(id);
      return job && viewOf(job);
    },
  };
}
export type Prewarm = ReturnType<typeof createPrewarm>;

function viewOf({ id, startedAt, endedAt, images }: Job): PrewarmProgress {
  const hasFailed = images.some(({ state }) => state === "failed");
  return {
    id,
    state: endedAt === undefined ? "running" : hasFailed ? "failed" : "done",
    startedAt,
    endedAt,
    images: images.map(({ image, state, totalBytes, doneBytes, problem, downloads }) => ({
      reference: image.text,
      state,
      totalBytes,
      doneBytes: [...downloads].reduce((sum, { receivedBytes }) => sum + receivedBytes, doneBytes),
      problem,
    })),
  };
}

function nowhere(prefixes: readonly string[]): string {
  if (prefixes.length === 0)
    return "this server fetches from no other registry: name one in registry.upstreams of its config";
  return `no prefix in registry.upstreams is that of this image: write ${prefixes.join(" or ")} in front of it`;
}

function platformsOf(manifests: readonly Descriptor[]): string {
  const all = manifests.flatMap(({ platform }) =>
    platform?.os === undefined || platform.os === "unknown"
      ? []
      : [[platform.os, platform.architecture, platform.variant].filter(Boolean).join("/")],
  );
  return [...new Set(all)].join(", ") || "none that it tells";
}

function isWanted({ platform: own }: Descriptor, platform: string | undefined): boolean {
  if (platform === undefined) return true;
  const [os, architecture, variant] = platform.split("/");
  return (
    own?.os === os &&
    own?.architecture === architecture &&
    (variant === undefined || own?.variant === undefined || own.variant === variant)
  );
}
