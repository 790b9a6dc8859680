import type { EpochMs } from "../domain/capabilities.ts";

export interface ListedFile {
  readonly name: string;
  readonly sizeBytes: number;
  readonly changedAt: EpochMs;
}

/** A directory as nginx lists it with `autoindex_format json`: podsec's clients read it with jq, others may do so line by line. */
export function keyListing(files: readonly ListedFile[]): string {
  const lines = files
    .toSorted((one, other) => (one.name < other.name ? -1 : 1))
    .map(
      ({ name, sizeBytes, changedAt }) =>
        `{ "name":${JSON.stringify(name)}, "type":"file", "mtime":"${httpDate(changedAt)}", "size":${sizeBytes} }`,
    );
  return `[\r\n${lines.join(",\r\n")}\r\n]`;
}

/** RFC 9110, section 5.6.7 */
function httpDate(at: EpochMs): string {
  return new Date(at).toUTCString();
}
