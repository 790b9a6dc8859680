import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  visit,
  type YAMLSeq,
} from "yaml";

/** Values that merge keys may add to those that are written. */
const mostMerged = 100_000;
/** The library looks through all anchors and aliases for each alias that it resolves: so many looks, a tenth of a second. */
const mostAliasLooks = 40_000_000;

/** What a document becomes: its values, and how often an alias is resolved for them. */
interface Size {
  readonly values: number;
  readonly aliases: number;
}
const nothing: Size = { values: 0, aliases: 0 };
const add = (left: Size, right: Size): Size => ({
  values: left.values + right.values,
  aliases: left.aliases + right.aliases,
});

const isMergeKey = (key: unknown): boolean =>
  isScalar(key) &&
  (key.type ?? "PLAIN") === "PLAIN" &&
  (key.value === "<<" || (typeof key.value === "symbol" && key.value.description === "<<"));

export interface ExpansionFault {
  readonly offset: number;
  readonly message: string;
}

/**
 * What aliases and merge keys make of a document, without making it: the library renders what is merged once for each `<<`, and a few of
 * them in each other are millions of values.
 * @param merges the document is read with merge keys @returns undefined: it is small enough
 */
export function expansionFault(document: Document, merges: boolean): ExpansionFault | undefined {
  const targets = new Map<Alias, Node>();
  const anchors = new Map<string, Node>();
  let marked = 0;
  let firstMerge: Node | undefined;
  let firstAlias: Node | undefined;
  visit(document, {
    Node(_, node) {
      if (isAlias(node)) {
        marked += 1;
        firstAlias ??= node;
        const target = anchors.get(node.source);
        if (target) targets.set(node, target);
      } else if (node.anchor !== undefined) {
        marked += 1;
        anchors.set(node.anchor, node);
      }
    },
    Pair(_, { key }) {
      if (isMergeKey(key)) firstMerge ??= key as Node;
    },
  });
  const at = (node: Node | undefined): number => node?.range?.[0] ?? 0;
  const sizes = new Map<Node, Size>();
  const lists = new Map<YAMLSeq, Size>();
  const open = new Set<Node>();
  let cycle: Node | undefined;

  function sizeOf(node: unknown, mergesToo: boolean): Size {
    if (isAlias(node)) return { values: 1, aliases: 1 };
    if (!isNode(node)) return nothing;
    const known = sizes.get(node);
    if (known) return known;
    if (open.has(node)) {
      cycle ??= node;
      return nothing;
    }
    open.add(node);
    let size: Size = { values: 1, aliases: 0 };
    if (isSeq(node)) for (const item of node.items) size = add(size, sizeOf(item, mergesToo));
    if (isMap(node))
      for (const { key, value } of node.items)
        size = add(
          size,
          mergesToo && isMergeKey(key)
            ? mergedSize(value)
            : add(sizeOf(key, mergesToo), sizeOf(value, mergesToo)),
        );
    open.delete(node);
    // Without merge keys in force nothing is rendered twice, and each node is looked at once.
    if (mergesToo) sizes.set(node, size);
    return size;
  }

  /** Of what stands behind `<<`: a map, an alias of one, or a list of these. */
  function mergedSize(value: unknown): Size {
    const source = isAlias(value) ? targets.get(value) : value;
    const own: Size = isAlias(value) ? { values: 0, aliases: 1 } : nothing;
    return add(own, isSeq(source) ? listSize(source) : sizeOf(source, true));
  }

  /** Of a list of maps; of a list in that list the library makes nothing but an error. */
  function listSize(list: YAMLSeq): Size {
    const known = lists.get(list);
    if (known) return known;
    const isMerged = (item: unknown) => isMap(isAlias(item) ? targets.get(item) : item);
    const size = list.items.filter(isMerged).reduce<Size>((sum, item) => add(sum, mergedSize(item)), nothing);
    lists.set(list, size);
    return size;
  }

  if (marked === 0 && !firstMerge) return undefined;
  const written = sizeOf(document.contents, false);
  const made = merges ? sizeOf(document.contents, true) : written;
  if (cycle) return { offset: at(cycle), message: "a map that is merged (<<) into itself" };
  if (made.values - written.values > mostMerged)
    return {
      offset: at(firstMerge),
      message: `merge keys (<<) make more than ${mostMerged} values of what is written: merge less, or write it out`,
    };
  if (made.aliases * marked > mostAliasLooks)
    return { offset: at(firstAlias), message: "too many aliases (*name): write it out" };
  return undefined;
}
