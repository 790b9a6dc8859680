import type { ComponentChildren } from "preact";
import "./table.css";

export interface Column<T> {
  readonly title: string;
  readonly cell: (item: T) => ComponentChildren;
  /** Numbers stand at the end of their cell. */
  readonly isNumber?: boolean;
  /** Left out on narrow screens. */
  readonly isWide?: boolean;
}

/** A list with columns; it scrolls within itself where it is too wide. @param caption says what it is, for those who do not see it */
export function Table<T>({
  caption,
  columns,
  items,
  keyOf,
  empty,
}: {
  caption: string;
  columns: readonly Column<T>[];
  items: readonly T[];
  keyOf: (item: T) => string;
  /** Said in place of a table without rows. */
  empty?: string;
}) {
  if (items.length === 0 && empty !== undefined) return <p class="empty">{empty}</p>;
  return (
    // Whoever has no mouse scrolls what has the focus.
    <div class="table-frame" tabIndex={0} role="region" aria-label={caption}>
      <table class="table">
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th scope="col" class={classOf(column)}>
                {column.title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {items.map((item) => (
            <tr key={keyOf(item)}>
              {columns.map((column) => (
                <td class={classOf(column)}>{column.cell(item)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const classOf = ({ isNumber, isWide }: { isNumber?: boolean; isWide?: boolean }) =>
  [isNumber ? "is-number" : "", isWide ? "is-wide" : ""].filter(Boolean).join(" ") || undefined;
