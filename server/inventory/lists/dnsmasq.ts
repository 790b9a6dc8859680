import { createHostList, type HostList, type HostListDraft } from "./listed-host.ts";

/**
 * Hosts of dnsmasq: `dhcp-host=` lines of a configuration, or a file of `--dhcp-hostsfile`, which has the same without the word. The
 * fields come in any order and tell by their form what they are, as dnsmasq's option.c decides it (dnsmasq(8), --dhcp-host).
 */
export function readDnsmasqList(text: string): HostList {
  const list = createHostList();
  const lines = text.split(/\r?\n/);
  const isConfiguration = lines.some((line) => /^\s*dhcp-host\s*=/.test(line));
  for (const [index, whole] of lines.entries()) {
    if (list.isFull) break;
    const line = withoutComment(whole).trim();
    if (line === "") continue;
    if (!isConfiguration) hostOf(list, index + 1, line);
    else {
      const equals = line.indexOf("=");
      const name = (equals < 0 ? line : line.slice(0, equals)).trim();
      if (name === "dhcp-host") hostOf(list, index + 1, equals < 0 ? "" : line.slice(equals + 1));
      else list.ignore(name);
    }
  }
  return list;
}

/** A `#` begins a comment at the line's begin or after a blank, outside of quotes. */
function withoutComment(line: string): string {
  let isQuoted = false;
  for (let at = 0; at < line.length; at++) {
    if (line[at] === '"') isQuoted = !isQuoted;
    if (line[at] === "#" && !isQuoted && (at === 0 || /\s/.test(line[at - 1] ?? "")))
      return line.slice(0, at);
  }
  return line;
}

/** `45m`, `3600`, `infinite`: digits with one letter for the unit. */
const leaseTime = /^([0-9][0-9 ]*[smhdw]?|infinite)$/i;
/** `06-00:20:e0:3b:13:af`: ARP's type of the hardware before the address. */
const hardware = /^(?:[0-9a-f]{2}-)?((?:[0-9a-f]{1,2}|\*)(?::(?:[0-9a-f]{1,2}|\*)){5})$/i;

function hostOf(list: HostListDraft, line: number, value: string): void {
  const macs: string[] = [];
  let address: string | undefined;
  let name: string | undefined;
  const unreadable: string[] = [];
  for (const quoted of value.split(",")) {
    const field = quoted.trim().replace(/^"(.*)"$/s, "$1");
    if (field === "") continue;
    const [, octets] = hardware.exec(field) ?? [];
    if (octets !== undefined) {
      if (octets.includes("*")) unreadable.push(`${octets} names many machines`);
      else
        macs.push(
          octets
            .split(":")
            .map((octet) => octet.padStart(2, "0"))
            .join(":"),
        );
    } else if (field.startsWith("[")) list.ignore("IPv6 address");
    else if (/^(id|set|tag|net):/.test(field)) list.ignore(`${field.slice(0, field.indexOf(":"))}:`);
    else if (/^[0-9]{1,3}(\.[0-9]{1,3}){3}$/.test(field)) address ??= field;
    else if (leaseTime.test(field)) list.ignore("lease time");
    else if (field === "ignore") return list.ignore("hosts that dnsmasq ignores");
    else if (/^[0-9a-z_][0-9a-z_.-]*$/i.test(field)) name = field;
    else unreadable.push(`${JSON.stringify(field.slice(0, 40))} is no MAC, address, name or lease time`);
  }
  if (unreadable.length > 0) return list.problem(line, unreadable.slice(0, 3).join("; "));
  if (macs.length === 0 && name === undefined && address === undefined)
    return list.ignore("hosts with no MAC");
  // A name with an address alone is what dnsmasq gives to a client that calls itself so: no machine can be told by it.
  if (macs.length === 0) return list.ignore("hosts with no MAC");
  list.host({ line, name, macs, address });
}
