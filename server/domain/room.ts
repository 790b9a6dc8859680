/** The plan of a room: rows of seats from the front to the back, each from left to right; null where nobody sits (an aisle, a pillar). */
export interface RoomPlan {
  readonly seats: readonly (readonly (string | null)[])[];
}

/** A place on the plan, counted from 1. */
export interface Place {
  readonly row: number;
  readonly column: number;
}

export const maximumRows = 40;
export const maximumColumns = 40;

/** Names of seats are cells of tables and parts of host names. */
export function isSeatName(text: string): boolean {
  return /^[A-Za-z0-9]([A-Za-z0-9._-]{0,14}[A-Za-z0-9])?$/.test(text);
}

/** A, B, ... Z, AA, AB ... for 1, 2, ...: the row of a seat such as B3. */
export function rowLetters(row: number): string {
  const last = String.fromCharCode(65 + ((row - 1) % 26));
  return row > 26 ? rowLetters(Math.floor((row - 1) / 26)) + last : last;
}

/** The name of a seat where nobody gave it another: row 2, column 3 is B3. */
export function defaultSeatName({ row, column }: Place): string {
  return `${rowLetters(row)}${column}`;
}

/** A room of full rows, its seats A1, A2, ... */
export function rectangularPlan(rows: number, columns: number): RoomPlan {
  return {
    seats: Array.from({ length: rows }, (_, row) =>
      Array.from({ length: columns }, (_, column) => defaultSeatName({ row: row + 1, column: column + 1 })),
    ),
  };
}

/**
 * Reads a plan as people write it: `4x6`, or its rows parted by `/` and their seats by blanks, `.` for a place without a seat:
 * `A1 A2 . A3 / B1 B2 . B3`. @returns undefined where it is neither
 */
export function readPlan(text: string): RoomPlan | undefined {
  const [, rows, columns] = /^\s*([0-9]{1,4})\s*[xX×]\s*([0-9]{1,4})\s*$/.exec(text) ?? [];
  if (rows !== undefined && columns !== undefined) {
    if (Number(rows) > maximumRows || Number(columns) > maximumColumns) return undefined;
    return rectangularPlan(Number(rows), Number(columns));
  }
  const seats = text.split("/").map((row) =>
    row
      .trim()
      .split(/\s+/)
      .filter((seat) => seat !== "")
      .map((seat) => (seat === "." ? null : seat)),
  );
  return { seats };
}

/** What is wrong with a plan, in one clause; undefined: nothing. */
export function faultOfPlan({ seats }: RoomPlan): string | undefined {
  if (seats.length > maximumRows) return `it has more than ${maximumRows} rows`;
  const named = new Set<string>();
  for (const [index, row] of seats.entries()) {
    if (row.length > maximumColumns) return `row ${index + 1} has more than ${maximumColumns} places`;
    for (const seat of row) {
      if (seat === null) continue;
      if (!isSeatName(seat))
        return `${JSON.stringify(seat.slice(0, 20))} is no name of a seat: up to 16 letters, digits, dots and hyphens`;
      if (named.has(seat.toLowerCase())) return `the seat ${seat} is in it twice`;
      named.add(seat.toLowerCase());
    }
  }
  return named.size === 0 ? "no seat is in it" : undefined;
}

/** Where a seat stands; undefined: it is not on the plan. */
export function placeOf({ seats }: RoomPlan, seat: string): Place | undefined {
  for (const [row, places] of seats.entries()) {
    const column = places.indexOf(seat);
    if (column >= 0) return { row: row + 1, column: column + 1 };
  }
  return undefined;
}

/** The name of the seat at a place; undefined: there is none. */
export function seatAt({ seats }: RoomPlan, { row, column }: Place): string | undefined {
  return seats[row - 1]?.[column - 1] ?? undefined;
}

/** The seat that was meant by another spelling of its name. */
export function seatMeant({ seats }: RoomPlan, text: string): string | undefined {
  const lower = text.toLowerCase();
  return seats.flat().find((seat) => seat?.toLowerCase() === lower) ?? undefined;
}

/** The seats of a plan in a few words: `A1 to D6`. */
export function planInWords({ seats }: RoomPlan): string {
  const names = seats.flat().filter((seat) => seat !== null);
  return names.length <= 8 ? names.join(", ") : `${names[0]} to ${names.at(-1)}`;
}
