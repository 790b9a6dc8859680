/** Data URLs (RFC 2397), as Ignition reads and Butane writes them. */

const unreserved = /[A-Za-z0-9\-_.!~*'()]/;

function percentEncoded(bytes: Uint8Array): string {
  let written = "";
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    written += unreserved.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return written;
}

export interface EncodedContents {
  readonly source: string;
  /** Empty: as it is. Written out, since a config that is merged over another one would inherit that one's compression. */
  readonly compression: "" | "gzip" | undefined;
}

/**
 * The shortest of three forms: percent-encoded, base64, gzip in base64.
 * @param isCompressed the contents are compressed already and said to be so, which stays as it is said
 */
export function encodeContents(
  bytes: Uint8Array,
  gzip: (bytes: Uint8Array) => Uint8Array,
  isCompressed: boolean,
): EncodedContents {
  const base64 = `;base64,${Buffer.from(bytes).toString("base64")}`;
  // Each octet is one character at least, so that a long content that base64 makes shorter is not written out in vain.
  const text = bytes.length >= base64.length ? base64 : `,${percentEncoded(bytes)}`;
  const plain = base64.length < text.length ? base64 : text;
  if (isCompressed) return { source: `data:${plain}`, compression: undefined };
  const compressed = `;base64,${Buffer.from(gzip(bytes)).toString("base64")}`;
  return compressed.length + "gzip".length < plain.length
    ? { source: `data:${compressed}`, compression: "gzip" }
    : { source: `data:${plain}`, compression: "" };
}

/** Can Ignition read it? `data:[<type>][;<attribute>=<value>][;base64],<data>` */
export function isDataUrl(url: string): boolean {
  const [, isBase64, data = ""] = /^data:[^,]*?(;base64)?,(.*)$/s.exec(url) ?? [];
  if (!/^data:[^,]*,/.test(url)) return false;
  if (isBase64)
    return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(
      data.replaceAll(/%[0-9A-Fa-f]{2}/g, (hex) => String.fromCharCode(Number.parseInt(hex.slice(1), 16))),
    );
  return /^(?:[A-Za-z0-9\-_.!~*'();/?:@&=+$,]|%[0-9A-Fa-f]{2})*$/.test(data);
}
