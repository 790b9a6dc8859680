import { parseIpv4 } from "../net/ipv4.ts";
import type { EpochMs } from "./capabilities.ts";
import type { BoardMethod, PowerMethod } from "./power.ts";
import type { SshCommands } from "./role.ts";

/** What people said of how a machine's power is ruled. */
export interface PowerSettings {
  /** `wol` and `ssh`: that alone. `ipmi`, `redfish`: the machine has such a board (BMC), and the others are ways beside it. */
  readonly method: PowerMethod;
  /** Where its board listens; for `ssh`, where the machine itself does, in place of where it was last seen. */
  readonly address: string | undefined;
  /** Undefined: 623 for IPMI, 443 for Redfish, 22 for SSH. */
  readonly port: number | undefined;
  readonly user: string | undefined;
  /** The password, sealed under {@link passwordPurpose}. */
  readonly sealed: string | undefined;
  /** SHA-256 of the board's certificate, lower-case hex; undefined: an authority must have signed it for that address. */
  readonly certificate: string | undefined;
  /** That authority's own certificate, PEM; undefined: one that this host trusts. */
  readonly authority: string | undefined;
  /** Which system of a board that has several (Redfish). */
  readonly system: string | undefined;
  /** The group that all of it comes from; undefined: it was set for this machine. */
  readonly group: string | undefined;
}

/** The boards of a group's machines, for those that nothing was set for. */
export interface GroupBoards {
  readonly method: BoardMethod;
  /** With `{name}` where each machine's name stands. */
  readonly address: string;
  readonly port: number | undefined;
  readonly user: string;
  /** Sealed under {@link groupPasswordPurpose}. */
  readonly sealed: string;
  readonly authority: string | undefined;
  readonly system: string | undefined;
}

/** What a machine's own callback told of how to reach it by SSH. It holds for that boot: a diskless machine makes a new key at the next. */
export interface SshHostKey {
  readonly bootId: string;
  /** As in known_hosts: `ssh-ed25519 AAAA...`. */
  readonly hostKey: string;
  readonly address: string;
  /** Whom the boot's role gave the server's key, and what it opens there. */
  readonly user: string;
  readonly commands: SshCommands;
  readonly toldAt: EpochMs;
}

/** A password opens only for the machine, place and user that it was given for: whoever changes those has to know it. */
export function passwordPurpose(
  machineId: string,
  { method, address, port, user, certificate, authority }: Omit<PowerSettings, "sealed" | "group">,
): string {
  const trust = authority === undefined ? [certificate] : [certificate, authority];
  return JSON.stringify(["power", 1, machineId, method, address, port, user, ...trust]);
}

/** The same for the password of a group's boards. */
export function groupPasswordPurpose(
  group: string,
  { method, address, port, user, authority }: Omit<GroupBoards, "sealed">,
): string {
  return JSON.stringify(["power-group", 1, group, method, address, port, user, authority]);
}

const nameWord = "{name}";

/** `{name}-bmc.lab.example`: the machine's name, once, and something beside it. */
export function isBoardPattern(text: string): boolean {
  const parts = text.split(nameWord);
  return parts.length === 2 && text !== nameWord && isPowerAddress(parts.join("x"));
}

/** Where a group's machine has its board. @returns undefined where that is no address: its name is too long for one */
export function boardAddress(pattern: string, machineName: string): string | undefined {
  const address = pattern.replace(nameWord, () => machineName);
  return isPowerAddress(address) ? address : undefined;
}

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const hostName = new RegExp(`^(?=.{1,253}$)${label}(?:\\.${label})*$`);

/** An IPv4 address or a host name (RFC 1123 s.2.1), lower case. Neither begins with a hyphen or has a blank: it stands in arguments of programs. */
export function isPowerAddress(text: string): boolean {
  return /^[0-9.]+$/.test(text) ? parseIpv4(text) !== undefined : hostName.test(text);
}

/** Names of accounts: no leading hyphen, nothing that a shell or an option could take for its own. */
export function isPowerUser(text: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,31}$/.test(text);
}

/** A name that Redfish may give a system; it stands in an address. */
export function isSystemName(text: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}$/.test(text);
}

/** @returns what is wrong with the password for this method; undefined: nothing */
export function passwordProblem(method: PowerMethod, password: string): string | undefined {
  if (password === "" || password.length > 256) return "a password has 1 to 256 characters";
  if (/\p{Cc}/u.test(password)) return "a password has no control characters, line breaks included";
  // IPMI 2.0 s.22.30: 20 octets; programs cut the rest off in silence.
  if (method === "ipmi" && new TextEncoder().encode(password).length > 20)
    return "a password of IPMI has 20 octets at most";
  return undefined;
}

/**
 * The host key in what a machine told, as known_hosts has it. Ed25519 alone, which every OpenSSH of the last ten years makes: 51 octets
 * with a fixed head (RFC 8709 s.4). @returns undefined for anything else
 */
export function parseHostKey(text: string): string | undefined {
  const found =
    /^ssh-ed25519 (AAAAC3NzaC1lZDI1NTE5AAAAI[A-P][A-Za-z0-9+/]{42})(?:[ \t][^\r\n]{0,200})?$/.exec(
      text.trim(),
    );
  return found ? `ssh-ed25519 ${found[1]}` : undefined;
}
