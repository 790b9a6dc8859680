import { columnOf, delimiterOf, readCsvList } from "./csv.ts";
import { readDnsmasqList } from "./dnsmasq.ts";
import { readIscList } from "./isc-dhcpd.ts";
import { createHostList, type HostList, type ListFormat, maximumHosts } from "./listed-host.ts";

/** No line of such a list is longer; a file with one is something else. Octets or so. */
const maximumLine = 4000;

const readers: Readonly<Record<ListFormat, (text: string) => HostList>> = {
  csv: readCsvList,
  isc: readIscList,
  dnsmasq: readDnsmasqList,
};

/** Which format it is, by its look; undefined: none that we know. */
export function formatOf(text: string): ListFormat | undefined {
  const lines = text
    .slice(0, 200_000)
    .split(/\r?\n/)
    .filter((line) => !/^\s*(#.*)?$/.test(line));
  const [header = ""] = lines;
  const columns = header.split(delimiterOf(header)).map((name) => columnOf(name.trim().replaceAll('"', "")));
  if (columns.includes("mac") || (columns.includes("name") && columns.length > 1)) return "csv";
  if (lines.some((line) => /^\s*dhcp-host\s*=/.test(line))) return "dnsmasq";
  if (lines.some((line) => /(^|[\s{;}])host\s+\S+\s*\{/.test(line))) return "isc";
  const isHostsFile = (line: string) =>
    /(^|,)\s*([0-9a-f]{2}-)?[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5}\s*(,|$)/i.test(line);
  return lines.length > 0 && isHostsFile(header) ? "dnsmasq" : undefined;
}

/** The hosts of a list, with everything that is wrong with it. */
export function readList(given: string, format: ListFormat): HostList {
  const text = given.startsWith("\ufeff") ? given.slice(1) : given;
  const refusal = refuse(text);
  if (refusal) {
    const list = createHostList();
    list.problem(refusal.line, refusal.problem);
    return list;
  }
  const list = readers[format](text);
  if (list.hosts.length <= maximumHosts) return list;
  const problem = `there are more than ${maximumHosts} machines in it; import it in parts`;
  return { ...list, problems: [...list.problems, { line: list.hosts.at(-1)?.line ?? 1, problem }] };
}

/** What no list of machines has. */
function refuse(text: string): { line: number; problem: string } | undefined {
  let line = 0;
  for (let at = 0; at < text.length;) {
    line++;
    const found = text.indexOf("\n", at);
    const end = found < 0 ? text.length : found;
    if (end - at > maximumLine) return { line, problem: `the line has more than ${maximumLine} characters` };
    at = end + 1;
  }
  const control = /[^\P{Cc}\t\r\n]/u.exec(text);
  if (!control) return undefined;
  const before = text.slice(0, control.index);
  const code = (control[0].codePointAt(0) ?? 0).toString(16).padStart(2, "0");
  return {
    line: before.split("\n").length,
    problem: `a control character (0x${code}) is in it: it is no text, or in another encoding than UTF-8`,
  };
}
