/** What is measured once in each round for each server, and what is expected of ours. */
export interface Measure {
  readonly id: string;
  readonly what: string;
  readonly unit: string;
  readonly better: "more" | "less";
  /** The bar in words, and whether the medians pass it. */
  readonly bar?: { readonly text: string; isMet(ours: number, peers: ReadonlyMap<string, number>): boolean };
}

export const ours = "Rollcall";

export interface Results {
  declare(measure: Measure): void;
  add(id: string, who: string, value: number): void;
  /** A sentence below the table. */
  note(text: string): void;
  table(): string;
  markdown(): string;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? NaN)) / 2;
}

export function bestOf(peers: ReadonlyMap<string, number>, better: "more" | "less"): number | undefined {
  const values = [...peers.values()].filter(Number.isFinite);
  if (values.length === 0) return undefined;
  return better === "more" ? Math.max(...values) : Math.min(...values);
}

/** At least so many times the best peer's. */
export function atLeastTimes(factor: number, peer?: string): Measure["bar"] {
  return {
    text: `at least ${factor} x ${peer ?? "the best peer"}`,
    isMet: (value, peers) =>
      value >= factor * (peer === undefined ? (bestOf(peers, "more") ?? 0) : (peers.get(peer) ?? 0)),
  };
}

export function atLeast(limit: number, unit: string): Measure["bar"] {
  return { text: `at least ${limit.toLocaleString("en")} ${unit}`, isMet: (value) => value >= limit };
}

export function atMost(limit: number, unit: string): Measure["bar"] {
  return { text: `at most ${limit.toLocaleString("en")} ${unit}`, isMet: (value) => value <= limit };
}

export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (value >= 1000) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(3)));
}

interface Row {
  readonly cells: readonly string[];
}
const columns = ["what", "unit", "Rollcall", "peers", "ratio to the best", "bar", "met", "rounds"] as const;

export function createResults(): Results {
  const measures: Measure[] = [];
  const values = new Map<string, Map<string, number[]>>();
  const notes: string[] = [];

  function rows(): Row[] {
    return measures.flatMap((measure) => {
      const byServer = values.get(measure.id);
      const own = byServer?.get(ours);
      if (!byServer || !own) return [];
      const value = median(own);
      const peers = new Map(
        [...byServer].filter(([who]) => who !== ours).map(([who, all]) => [who, median(all)]),
      );
      const best = bestOf(peers, measure.better);
      const ratio = best === undefined ? undefined : value / best;
      return [
        {
          cells: [
            measure.what,
            measure.unit,
            formatNumber(value),
            [...peers].map(([who, peer]) => `${who} ${formatNumber(peer)}`).join(", ") || "-",
            ratio === undefined || !Number.isFinite(ratio)
              ? "-"
              : `${ratio.toFixed(2)}${measure.better === "less" ? " (less is better)" : ""}`,
            measure.bar?.text ?? "-",
            measure.bar ? (measure.bar.isMet(value, peers) ? "yes" : "NO") : "-",
            String(own.length),
          ],
        },
      ];
    });
  }

  return {
    declare(measure) {
      if (!measures.some(({ id }) => id === measure.id)) measures.push(measure);
    },
    add(id, who, value) {
      let byServer = values.get(id);
      if (!byServer) values.set(id, (byServer = new Map()));
      const list = byServer.get(who);
      if (list) list.push(value);
      else byServer.set(who, [value]);
      process.stdout.write(
        `    ${who}: ${formatNumber(value)} ${measures.find((one) => one.id === id)?.unit ?? ""} (${id})\n`,
      );
    },
    note: (text) => void notes.push(text),
    table() {
      const all = [columns.map((name) => name.toUpperCase()), ...rows().map(({ cells }) => cells)];
      const widths = columns.map((_, index) => Math.max(...all.map((cells) => (cells[index] ?? "").length)));
      const lines = all.map((cells) =>
        cells
          .map((cell, index) => cell.padEnd(widths[index] ?? 0))
          .join("  ")
          .trimEnd(),
      );
      return [...lines, ...notes.map((text) => `* ${text}`)].join("\n") + "\n";
    },
    markdown() {
      const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
      const table = [
        line(columns),
        line(columns.map(() => "---")),
        ...rows().map(({ cells }) => line(cells)),
      ];
      return [...table, "", ...notes.map((text) => `- ${text}`)].join("\n");
    },
  };
}
