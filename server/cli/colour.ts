/** Whether words may be coloured, and which colour says what. A colour never says anything that the word beside it does not. */

/** What decides it: FORCE_COLOR over NO_COLOR (no-color.org), as Node does it, and a terminal otherwise. */
export function mayColour(
  isTerminal: boolean,
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  const { FORCE_COLOR: forced, NO_COLOR: refused, TERM: terminal } = environment;
  if (forced !== undefined && forced !== "") return forced !== "0" && forced !== "false";
  if (refused !== undefined && refused !== "") return false;
  return isTerminal && terminal !== "dumb";
}

/** SGR parameters (ECMA-48, s.8.3.117) for phases of machines, states of nodes and levels of events. */
const colours: Readonly<Record<string, string>> = {
  ready: "32",
  netbooting: "36",
  booting: "36",
  configuring: "36",
  joining: "36",
  assigned: "34",
  discovered: "33",
  failed: "31",
  lost: "31",
  retired: "2",
  warning: "33",
  alarm: "31",
};

export type Paint = (word: string) => string;

export const plainPaint: Paint = (word) => word;

/** Colours the words that have one; blanks around them stay as they are. */
export const colourPaint: Paint = (word) => {
  const colour = Object.hasOwn(colours, word.trim().toLowerCase())
    ? colours[word.trim().toLowerCase()]
    : undefined;
  return colour === undefined ? word : `\u001b[${colour}m${word}\u001b[0m`;
};
