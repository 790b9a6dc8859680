export type RangeResult = "whole" | "unsatisfiable" | { readonly from: number; readonly to: number };

/**
 * Reads a Range header (RFC 9110 s.14.1.2, s.14.2). Several ranges, other units and bad syntax are answered with the whole content,
 * which the RFC allows and which makes bombs of overlapping ranges harmless.
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
  if (last !== "" && Number(last) < from) return "whole";
  return from >= size ? "unsatisfiable" : { from, to };
}
