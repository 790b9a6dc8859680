import type { StreamPlace } from "./content-stream.ts";

/** What a machine is being sent, as far as it is. */
export interface DownloadProgress {
  readonly file: string;
  readonly bytes: number;
  readonly total: number;
}

interface Download {
  readonly file: string;
  readonly total: number;
  /** In the file: what comes before a Range the machine has already. */
  readonly place: Readonly<StreamPlace>;
}

/** The files that machines are being sent right now. Nothing is told while they are: how far one is says its stream, when somebody asks. */
export function createDownloads() {
  const byMachine = new Map<string, Set<Download>>();
  return {
    /** @returns to be called at the download's end */
    begin(machineId: string, download: Download): () => void {
      const own = byMachine.get(machineId) ?? new Set();
      byMachine.set(machineId, own.add(download));
      return () => {
        own.delete(download);
        if (own.size === 0 && byMachine.get(machineId) === own) byMachine.delete(machineId);
      };
    },

    /** Of several, the one that began last. What the kernel holds for the network counts as sent. */
    of(machineId: string): DownloadProgress | undefined {
      const download = [...(byMachine.get(machineId) ?? [])].at(-1);
      return download && { file: download.file, total: download.total, bytes: download.place.at };
    },
  };
}
export type Downloads = ReturnType<typeof createDownloads>;
