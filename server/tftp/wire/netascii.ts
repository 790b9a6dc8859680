/** The netascii mode of RFC 1350 section 1: the NVT of RFC 764, in which a line ends with CR LF and a bare CR is CR NUL. Pure. */

const Nul = 0x00;
const LineFeed = 0x0a;
const CarriageReturn = 0x0d;

/** Converts a text with Unix line ends; what goes over the wire may be up to twice as long. */
export function encodeNetascii(text: Uint8Array): Uint8Array {
  let special = 0;
  for (const octet of text) if (octet === LineFeed || octet === CarriageReturn) special++;
  if (special === 0) return text;
  const converted = new Uint8Array(text.length + special);
  let at = 0;
  for (const octet of text) {
    if (octet === LineFeed) converted[at++] = CarriageReturn;
    converted[at++] = octet;
    if (octet === CarriageReturn) converted[at++] = Nul;
  }
  return converted;
}
