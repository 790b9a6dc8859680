import { X509Certificate } from "node:crypto";
import { InvalidRequest } from "../domain/error-catalogue.ts";
import { isBoardMethod, type PowerMethod } from "../domain/power.ts";
import {
  type GroupBoards,
  isBoardPattern,
  isPowerAddress,
  isPowerUser,
  isSystemName,
  passwordProblem,
  type PowerSettings,
} from "../domain/power-settings.ts";

/** As people write it. */
export interface PowerSettingsInput {
  readonly method: PowerMethod;
  /** For a group's boards with `{name}`. */
  readonly address?: string;
  readonly port?: number;
  readonly user?: string;
  /** Left out: the one that is kept goes on, where everything that it was given for stays as it is. */
  readonly password?: string;
  readonly certificate?: string;
  /** PEM. */
  readonly authority?: string;
  readonly system?: string;
}

const example = "--method ipmi --address";
const advice = `Example: boot machine power s4 ${example} 10.0.0.50 --user admin --password-stdin`;
const groupAdvice = `Example: boot group power lab225 ${example} '{name}-bmc.lab.example' --user admin --password-stdin`;
const shown = (text: string) => JSON.stringify(text.slice(0, 60));

/** @throws InvalidRequest */
export function checkSettings(input: PowerSettingsInput): Omit<PowerSettings, "sealed" | "group"> {
  const refuse = (problem: string) => InvalidRequest({ problem, advice });
  const { method, port, user, system } = input;
  const isBoard = isBoardMethod(method);
  const address = input.address?.trim().toLowerCase();
  const certificate = input.certificate?.replaceAll(":", "").toLowerCase();
  if (address !== undefined && !isPowerAddress(address))
    throw refuse(`${shown(address)} is no IPv4 address and no host name`);
  if (user !== undefined && !isPowerUser(user)) throw refuse(`${shown(user)} is no name of a user`);
  if (isBoard && (address === undefined || user === undefined))
    throw refuse(`${method} needs the board's address and a user`);
  if (method === "wol" && (address ?? port ?? user ?? input.password) !== undefined)
    throw refuse("Wake-on-LAN goes to the machine's MACs and has no address, user or password");
  if (!isBoard && input.password !== undefined)
    throw refuse("only IPMI and Redfish have a password; SSH uses this server's own key");
  if (method !== "redfish" && (certificate ?? input.authority ?? system) !== undefined)
    throw refuse("a certificate, an authority and a system belong to Redfish");
  if (certificate !== undefined && !/^[0-9a-f]{64}$/.test(certificate))
    throw refuse("a certificate is pinned by its SHA-256: 64 hexadecimal digits");
  if (certificate !== undefined && input.authority !== undefined)
    throw refuse("a pinned certificate needs no authority: give one of the two");
  if (system !== undefined && !isSystemName(system)) throw refuse(`${shown(system)} is no name of a system`);
  const authority = readAuthority(input.authority, refuse);
  return { method, address, port, user, certificate, authority, system };
}

/** @throws InvalidRequest */
export function checkBoards(input: PowerSettingsInput): Omit<GroupBoards, "sealed"> {
  const refuse = (problem: string) => InvalidRequest({ problem, advice: groupAdvice });
  const { method, port, user, system } = input;
  const address = input.address?.trim().toLowerCase();
  if (!isBoardMethod(method))
    throw refuse("a group has boards by ipmi or redfish; SSH and Wake-on-LAN need no word");
  if (address === undefined || user === undefined)
    throw refuse(`${method} needs the boards' addresses and a user`);
  if (!isBoardPattern(address))
    throw refuse(
      `${shown(address)} does not lead to the board of each machine: it is a host name with {name} in it once`,
    );
  if (!isPowerUser(user)) throw refuse(`${shown(user)} is no name of a user`);
  if (input.certificate !== undefined)
    throw refuse(
      "boards have a certificate each: pin it for the machine, or give the authority that signed them all",
    );
  if (method !== "redfish" && (input.authority ?? system) !== undefined)
    throw refuse("an authority and a system belong to Redfish");
  if (system !== undefined && !isSystemName(system)) throw refuse(`${shown(system)} is no name of a system`);
  return { method, address, port, user, authority: readAuthority(input.authority, refuse), system };
}

/** @throws InvalidRequest */
export function checkPassword(method: PowerMethod, password: string): void {
  const problem = passwordProblem(method, password);
  if (problem !== undefined) throw InvalidRequest({ problem, advice });
}

/** One certificate of an authority, written anew so that nothing else that stood in the file is kept. */
function readAuthority(text: string | undefined, refuse: (problem: string) => Error): string | undefined {
  if (text === undefined) return undefined;
  let certificate: X509Certificate;
  try {
    if (text.split("-----BEGIN CERTIFICATE-----").length !== 2) throw new Error("not one certificate");
    certificate = new X509Certificate(text);
  } catch {
    throw refuse("an authority is given as one certificate in PEM (-----BEGIN CERTIFICATE-----)");
  }
  if (!certificate.ca)
    throw refuse("the certificate of the authority may sign no others: it is no authority's");
  return certificate.toString();
}
