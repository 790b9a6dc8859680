import { Type } from "typebox";

/** Query of every list: `limit` and the `cursor` that the previous page gave as `next`. */
export const pageQuery = {
  limit: Type.Integer({ minimum: 1, maximum: 1000, default: 200, description: "entries per page" }),
  cursor: Type.Optional(Type.String({ maxLength: 1000, description: "`next` of the previous page" })),
};

/** The whole query of a plain list: a key that nobody knows is refused, so that a slip is not taken for a wish. */
export const listQuery = Type.Object(pageQuery, { additionalProperties: false });

/**
 * One page of a list that is sorted by `key`. The cursor is the last key of the page before, so entries that come and go meanwhile
 * shift nothing.
 */
export function page<T>(
  items: readonly T[],
  key: (item: T) => string,
  { limit, cursor }: { limit: number; cursor?: string | undefined },
): { items: T[]; next: string | null } {
  const sorted = items.toSorted((left, right) =>
    key(left) < key(right) ? -1 : key(left) > key(right) ? 1 : 0,
  );
  const rest = cursor === undefined ? sorted : sorted.filter((item) => key(item) > cursor);
  const taken = rest.slice(0, limit);
  const last = taken.at(-1);
  return { items: taken, next: rest.length > limit && last !== undefined ? key(last) : null };
}
