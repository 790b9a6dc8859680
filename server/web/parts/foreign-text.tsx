import { cutText, visibleText } from "./visible-text.ts";

/**
 * A string of a machine, a stranger, or anybody: the only way such a string is shown. Characters that would not be seen or that turn
 * text around are shown by their codes; a long text is cut, with more of it in the title.
 */
export function ForeignText({ text, limit = 120 }: { text: string; limit?: number }) {
  const pieces = cutText(text, limit);
  const isCut = text.length > limit;
  return (
    <bdi class="foreign" title={isCut ? visibleText(text, 1000) : undefined}>
      {pieces.map(({ text: piece, isEscape }) => (isEscape ? <span class="escape">{piece}</span> : piece))}
    </bdi>
  );
}
