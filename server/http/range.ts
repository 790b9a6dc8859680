/** A part of content: first and last octet. */
export interface Range {
  readonly from: number;
  readonly to: number;
}
export type RangeResult = "whole" | "unsatisfiable" | Range;

/** Ranges in one request; an image in parts (zstd:chunked) is asked for by some hundreds. */
const mostRanges = 1000;

/**
 * Reads a Range header (RFC 9110 s.14.1.2, s.14.2). Several ranges, other units and bad syntax are answered with the whole content,
 * which the RFC allows and which makes bombs of overlapping ranges harmless. One that ends before it begins may be rejected too, and
 * OCI's conformance suite wants that.
 * @param size length of the content, octets
 */
export function parseRange(header: string | undefined, size: number): RangeResult {
  if (header === undefined) return "whole";
  const match = /^bytes=\s*(\d{0,15})-(\d{0,15})\s*$/.exec(header);
  if (!match || (match[1] === "" && match[2] === "")) return "whole";
  const [, first = "", last = ""] = match;
  if (first === "") {
    const suffix = Number(last);
    return suffix === 0 || size === 0 ? "unsatisfiable" : { from: Math.max(0, size - suffix), to: size - 1 };
  }
  const from = Number(first);
  const to = last === "" ? size - 1 : Math.min(Number(last), size - 1);
  return from > to ? "unsatisfiable" : { from, to };
}

/**
 * The same for a client that may ask for several ranges (RFC 9110 s.14.6). Those that reach behind the end are left out; ranges that
 * overlap so far that they are longer than the content are answered with all of it.
 * @returns the ranges in the order of the request
 */
export function parseRanges(
  header: string | undefined,
  size: number,
): "whole" | "unsatisfiable" | readonly Range[] {
  if (header === undefined) return "whole";
  const [unit, list] = header.split("=", 2);
  if (unit !== "bytes" || list === undefined) return "whole";
  const texts = list.split(",", mostRanges + 1);
  if (texts.length > mostRanges) return "whole";
  const results = texts.map((text) => parseRange(`bytes=${text.trim()}`, size));
  if (results.includes("whole")) return "whole";
  const ranges = results.filter((result): result is Range => typeof result !== "string");
  if (ranges.length === 0) return "unsatisfiable";
  const length = ranges.reduce((sum, { from, to }) => sum + to - from + 1, 0);
  return ranges.length > 1 && length > size ? "whole" : ranges;
}
