/** What a machine or a stranger wrote, made harmless to look at; pure. Text nodes do the rest: nothing of it is ever markup. */

/** Control characters (Cc), format characters (Cf: bidirectional overrides, zero widths), line separators, lone surrogates, private use. */
const unseen = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/u;

export interface TextPiece {
  readonly text: string;
  /** Stands for one character that would not be seen, or would turn the text around. */
  readonly isEscape: boolean;
}

/** The text in pieces: what can be seen as it is, and the code points of what can't. */
export function visiblePieces(text: string): TextPiece[] {
  const pieces: TextPiece[] = [];
  let seen = "";
  const flush = () => {
    if (seen !== "") pieces.push({ text: seen, isEscape: false });
    seen = "";
  };
  for (const character of text) {
    if (!unseen.test(character)) {
      seen += character;
      continue;
    }
    flush();
    pieces.push({ text: escapeOf(character), isEscape: true });
  }
  flush();
  return pieces;
}

function escapeOf(character: string): string {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  return short ?? `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

/** For titles, labels and other attributes. */
export function visibleText(text: string, limit = 200): string {
  return cutText(text, limit)
    .map(({ text: piece }) => piece)
    .join("");
}

/** @param limit characters of the original that are shown */
export function cutText(text: string, limit: number): TextPiece[] {
  // Not by code points of the whole: it may be megabytes.
  const head = Array.from(text.slice(0, limit * 2))
    .slice(0, limit)
    .join("");
  const pieces = visiblePieces(head);
  return head.length < text.length ? [...pieces, { text: "…", isEscape: true }] : pieces;
}
