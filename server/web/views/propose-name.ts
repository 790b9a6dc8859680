/** Which name a machine that nobody named might want; pure. */

const numbered = /^(.*?)(\d+)$/;

/**
 * The next number of the names that there are: after s1 to s29 it is s30, after pc-07 it is pc-08. The names that most machines have
 * decide.
 * @param taken all names, also those that were proposed to others
 * @returns undefined: no name has a number at its end
 */
export function proposeName(taken: readonly string[]): string | undefined {
  const series = Map.groupBy(
    taken.flatMap((name) => {
      const [, prefix, digits] = numbered.exec(name) ?? [];
      // What a machine is called by its MAC is no series.
      return prefix === undefined || digits === undefined || /^m-[0-9a-f]{0,11}$/.test(prefix)
        ? []
        : [{ prefix, digits }];
    }),
    ({ prefix }) => prefix,
  );
  const [largest] = [...series].toSorted(([, one], [, other]) => other.length - one.length);
  if (!largest) return undefined;
  const [prefix, names] = largest;
  const next = Math.max(...names.map(({ digits }) => Number(digits))) + 1;
  const isPadded = names.some(({ digits }) => digits.startsWith("0"));
  const width = isPadded ? Math.max(...names.map(({ digits }) => digits.length)) : 0;
  const proposed = prefix + String(next).padStart(width, "0");
  return proposed.length <= 63 && Number.isSafeInteger(next) ? proposed : undefined;
}
