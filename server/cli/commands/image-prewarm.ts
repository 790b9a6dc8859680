import { setTimeout as pause } from "node:timers/promises";
import type { Command } from "commander";
import { formatBytes } from "../output.ts";
import { progressLine } from "../put-image.ts";
import { Refused } from "../client.ts";
import type { Session } from "../session.ts";

interface PrewarmView {
  readonly id: string;
  readonly state: "running" | "done" | "failed";
  readonly images: readonly {
    readonly reference: string;
    readonly state: string;
    readonly totalBytes: number;
    readonly doneBytes: number;
    readonly problem?: string;
  }[];
}

const askEveryMs = 500;

export function prewarmCommand(image: Command, open: () => Session): void {
  image
    .command("prewarm <reference...>")
    .description("fetch container images of upstream registries before a room asks for them")
    .option("--platform <platform>", "for these machines only, e.g. linux/amd64 (default: all)")
    .addHelpText(
      "after",
      "\nExample:\n  boot image prewarm docker.io/library/alpine:3.20 --platform linux/amd64\nThe image's name begins with a prefix of registry.upstreams. What is here already is not fetched again.\nThe server goes on with it if this command is interrupted.",
    )
    .action(async (references: string[], options: { platform?: string }) => {
      const session = open();
      const progress = progressLine(process.stderr.isTTY === true);
      let now = await session.client.post<PrewarmView>("/registry/prewarm", { references, ...options });
      while (now.state === "running") {
        const at = now.images.find(({ state }) => state === "running");
        if (at)
          progress.show(
            at.totalBytes === 0
              ? `asking for ${at.reference}`
              : `fetching ${at.reference}: ${formatBytes(at.doneBytes)} of ${formatBytes(at.totalBytes)}`,
          );
        await pause(askEveryMs);
        now = await session.client.get<PrewarmView>(`/registry/prewarm/${now.id}`);
      }
      progress.end();
      session.show(now.images, () => ({
        columns: ["image", "state", "size", ...(now.state === "failed" ? ["problem"] : [])],
        rows: now.images.map((one) => [
          one.reference,
          one.state === "done" ? "here" : one.state,
          one.totalBytes === 0 ? null : formatBytes(one.totalBytes),
          ...(now.state === "failed" ? [one.problem] : []),
        ]),
        empty: "",
      }));
      const failed = now.images.filter(({ state }) => state === "failed").length;
      if (failed > 0)
        throw new Refused(
          "PREWARM_FAILED",
          `${failed} of ${now.images.length} images could not be fetched`,
          "The table tells why. Run it again when that is mended: what is here already is not fetched twice.",
        );
    });
}
