import { signal } from "@preact/signals";

/** What is said to those who do not see the page change. */
const said = signal("");

/** Politely, after what is being read. What is said twice in a row is heard once. */
export function announce(text: string): void {
  said.value = text;
}

export function Announcer() {
  return (
    <div class="unseen" role="status" aria-live="polite">
      {said.value}
    </div>
  );
}
