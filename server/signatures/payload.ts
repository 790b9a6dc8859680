import type { SignatureFormat } from "../domain/signature.ts";

/** The payload of a signature (containers-signature(5); cosign's specs/SIGNATURE_SPEC.md has the same form). */
export interface SignaturePayload {
  readonly digest: string;
  readonly reference: string;
  readonly creator: string | undefined;
  /** Seconds since 1970, as the signer says. */
  readonly timestamp: number | undefined;
}

const payloadTypes: Readonly<Record<SignatureFormat, string>> = {
  openpgp: "atomic container signature",
  sigstore: "cosign container image signature",
};

/**
 * Reads a payload; what it says counts when its signature has been verified, and never before. What containers/image refuses is refused: members that are
 * unknown, missing or there twice, values of another type, anything around it.
 *
 * @returns the payload, or what is wrong with it
 */
export function readPayload(
  octets: Uint8Array,
  format: SignatureFormat = "openpgp",
): SignaturePayload | { readonly problem: string } {
  try {
    // A byte order mark stays, and is no JSON; octets that are no UTF-8 become U+FFFD, as they do in Go.
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(octets);
    JSON.parse(text, onlyFinite);
    const payload = exactly(text, "the payload", ["critical", "optional"]);
    const critical = exactly(payload.critical, "critical", ["type", "image", "identity"]);
    const image = exactly(critical.image, "critical.image", ["docker-manifest-digest"]);
    const identity = exactly(critical.identity, "critical.identity", ["docker-reference"]);
    if (textOf(critical.type, "critical.type") !== payloadTypes[format])
      throw new Problem("critical.type is another");
    // cosign writes null where there is nothing.
    const isNothing = format === "sigstore" && payload.optional === "null";
    const optional = isNothing ? new Map<string, string>() : membersOf(payload.optional, "optional");
    return {
      digest: textOf(image["docker-manifest-digest"], "docker-manifest-digest"),
      reference: textOf(identity["docker-reference"], "docker-reference"),
      creator: optionalText(optional.get("creator")),
      timestamp: optionalInteger(optional.get("timestamp")),
    };
  } catch (error) {
    if (error instanceof Problem) return { problem: error.message };
    if (error instanceof SyntaxError) return { problem: "it is not JSON" };
    throw error;
  }
}

class Problem extends Error {}

/** Go refuses numbers that no float64 holds; here they become Infinity. */
function onlyFinite(_key: string, value: unknown): unknown {
  if (value === Infinity || value === -Infinity) throw new Problem("a number is too large");
  return value;
}

/** The members of an object that has these and no others. @throws Problem */
function exactly<Name extends string>(
  text: string,
  what: string,
  names: readonly Name[],
): Record<Name, string> {
  const members = membersOf(text, what);
  for (const name of members.keys())
    if (!(names as readonly string[]).includes(name)) throw new Problem(`${what} has an unknown member`);
  for (const name of names) if (!members.has(name)) throw new Problem(`${what} has no member ${name}`);
  return Object.fromEntries(members) as Record<Name, string>;
}

/**
 * The members of one object, each with the text of its value: JSON.parse would keep the last of two with one name and not tell.
 * @param text of valid JSON @throws Problem
 */
function membersOf(text: string, what: string): Map<string, string> {
  const body = text.trim();
  if (!body.startsWith("{")) throw new Problem(`${what} is no object`);
  const members = new Map<string, string>();
  let at = skipSpace(body, 1);
  while (body[at] !== "}") {
    const keyEnd = endOfString(body, at);
    const key = JSON.parse(body.slice(at, keyEnd)) as string;
    const valueStart = skipSpace(body, keyEnd) + 1;
    const valueEnd = endOfValue(body, valueStart);
    if (members.has(key)) throw new Problem(`${what} has a member twice`);
    members.set(key, body.slice(valueStart, valueEnd).trim());
    at = skipSpace(body, body[valueEnd] === "," ? valueEnd + 1 : valueEnd);
  }
  return members;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (/[ \t\r\n]/.test(text.charAt(at))) at++;
  return at;
}

/** @param from where its opening quote is @returns where it is over */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at + 1;
}

/** @returns where the comma or bracket after a value is */
function endOfValue(text: string, from: number): number {
  let depth = 0;
  let at = from;
  for (;;) {
    const char = text.charAt(at);
    if (char === '"') {
      at = endOfString(text, at);
      continue;
    }
    if (depth === 0 && (char === "," || char === "}" || char === "]")) return at;
    if (char === "{" || char === "[") depth++;
    if (char === "}" || char === "]") depth--;
    at++;
  }
}

/** `null` leaves a Go string as it was: empty. */
function textOf(json: string, what: string): string {
  const value: unknown = JSON.parse(json);
  if (value === null) return "";
  if (typeof value !== "string") throw new Problem(`${what} is no text`);
  return value;
}

function optionalText(json: string | undefined): string | undefined {
  return json === undefined ? undefined : textOf(json, "optional.creator");
}

/** Go reads it as float64 and looks whether an int64 is the same. */
function optionalInteger(json: string | undefined): number | undefined {
  if (json === undefined) return undefined;
  const value: unknown = JSON.parse(json);
  if (value === null) return 0;
  if (typeof value !== "number" || !Number.isInteger(value) || Math.abs(value) >= 2 ** 63)
    throw new Problem("optional.timestamp is no integer");
  return value;
}
