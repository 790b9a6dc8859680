import "./state-word.css";

/** How good the server's own words for states are; any other is on its way. */
const tones: Readonly<Record<string, "ready" | "failed" | "lost">> = {
  ready: "ready",
  up: "ready",
  signed: "ready",
  failed: "failed",
  broken: "failed",
  lost: "failed",
  refused: "failed",
  invalid: "failed",
  unsigned: "lost",
  incomplete: "lost",
  revoked: "failed",
};

/** A word of the API, as the command says it too, with a shape beside its colour. */
export function StateWord({ state }: { state: string }) {
  const tone = tones[state] ?? "busy";
  const shape = {
    ready: "M1 1H15V15H1ZM3.2 8.4 6.8 12 13 5.6 11.6 4.2 6.8 9.1 4.6 7Z",
    failed: "M5 1h6l4 4v6l-4 4H5l-4-4V5Z",
    lost: "M8 1 15.5 15H.5Z",
    busy: "M8 1a7 7 0 1 0 0 14A7 7 0 1 0 8 1ZM8 3V13A5 5 0 0 0 8 3Z",
  }[tone];
  return (
    <span class={`state-word tone-${tone}`}>
      <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
        <path d={shape} fill="currentColor" fill-rule="evenodd" />
      </svg>
      {state}
    </span>
  );
}
