import { formatTable, safeText } from "../output.ts";

interface SeatView {
  readonly seat: string;
  readonly row: number;
  readonly column: number;
  readonly machine: { readonly name: string; readonly phase: string; readonly role: string } | null;
}

export interface GroupView {
  readonly name: string;
  readonly description: string;
  readonly role: string | null;
  readonly machines: readonly string[];
  readonly sharedSeats: readonly { readonly seat: string; readonly machines: readonly string[] }[];
  readonly plan: {
    readonly rows: number;
    readonly columns: number;
    readonly seats: readonly SeatView[];
    readonly elsewhere: readonly { readonly name: string; readonly seat: string | null }[];
  } | null;
}

/** What stands on one seat: its name, who sits there, and how far that one is. */
function cellOf(seat: SeatView | undefined): readonly string[] {
  if (!seat) return ["", "", ""];
  return [seat.seat, seat.machine?.name ?? "-", seat.machine?.phase ?? ""];
}

/** The room as a room: each seat as three lines, the front row first. */
export function drawRoom(group: GroupView): string {
  const { name, description, role, machines, plan } = group;
  const head = formatTable({
    columns: ["fact", "value"],
    rows: [
      ["group", name],
      ...(description === "" ? [] : [["description", description]]),
      ["role", role],
      ["machines", machines.length === 0 ? "none" : plan ? String(machines.length) : machines.join(" ")],
    ],
    empty: "",
  })
    .split("\n")
    .slice(1)
    .join("\n");
  const shared = group.sharedSeats.map(({ seat, machines: sitting }) =>
    safeText(
      `${sitting.join(" and ")} both have the seat ${seat}: give one of them another with boot machine edit ${sitting.at(-1)} --seat SEAT, or none with --seat ""\n`,
    ),
  );
  if (!plan)
    return `${head}\nIt has no plan. To draw one: boot group edit ${name} --plan 4x6 (4 rows of 6 seats)\n${shared.join("")}`;
  const at = new Map(plan.seats.map((seat) => [`${seat.row} ${seat.column}`, seat]));
  const grid = Array.from({ length: plan.rows }, (_, row) =>
    Array.from({ length: plan.columns }, (_, column) => cellOf(at.get(`${row + 1} ${column + 1}`))),
  );
  const widths = Array.from({ length: plan.columns }, (_, column) =>
    Math.max(1, ...grid.map((row) => Math.max(...(row[column] ?? []).map((text) => text.length)))),
  );
  const rows = grid.map((row) =>
    [0, 1, 2]
      .map((line) =>
        row
          .map((cell, column) => safeText(cell[line] ?? "").padEnd(widths[column] ?? 0))
          .join("   ")
          .trimEnd(),
      )
      .join("\n")
      .trimEnd(),
  );
  const elsewhere = plan.elsewhere.map(({ name, seat }) => (seat === null ? name : `${name} (seat ${seat})`));
  const rest = elsewhere.length === 0 ? "" : `\nNot on the plan: ${safeText(elsewhere.join(", "))}\n`;
  return `${head}\n${rows.join("\n\n")}\n${rest}${shared.join("")}`;
}
