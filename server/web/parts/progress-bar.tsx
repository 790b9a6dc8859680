import "./progress-bar.css";

/** @param label for those who do not see it; @param fraction 0 to 1 */
export function ProgressBar({
  fraction,
  label,
  tone = "busy",
}: {
  fraction: number;
  label: string;
  tone?: "busy" | "ready" | "failed";
}) {
  const percent = Math.round(Math.min(1, Math.max(0, fraction)) * 100);
  return (
    <span
      class={`progress-bar tone-${tone}`}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent}
    >
      <span class="progress-done" style={{ width: `${percent}%` }} />
    </span>
  );
}
