import { readFileSync, statSync } from "node:fs";
import { type Command, Option } from "commander";
import { InvalidRequest } from "../../domain/error-catalogue.ts";
import { powerMethods } from "../../domain/power.ts";
import { askPassphrase } from "../passphrase.ts";
import type { Session } from "../session.ts";

/** How a machine is switched, as the server tells it. */
export interface PowerSettingsView {
  readonly method: string;
  readonly address: string | null;
  readonly port: number | null;
  readonly user: string | null;
  readonly hasPassword: boolean;
  readonly certificate: string | null;
  /** SHA-256 of the authority that must have signed it. */
  readonly authority: string | null;
  readonly system: string | null;
  /** Whose boards these are. */
  readonly group: string | null;
}

interface PowerOptions {
  readonly method?: string;
  readonly address?: string;
  readonly port?: string;
  readonly user?: string;
  readonly certificate?: string;
  readonly authority?: string;
  readonly system?: string;
  readonly passwordStdin?: boolean;
  readonly remove?: boolean;
}

/** `ipmi at 10.0.0.50 as admin`; the secret is nowhere. */
export function powerInWords(settings: PowerSettingsView | null | undefined): string {
  if (!settings) return "SSH while it runs, Wake-on-LAN while it is off";
  const { method, address, port, user, certificate, authority, system, group } = settings;
  const place = address === null ? "" : ` at ${address}${port === null ? "" : `:${port}`}`;
  const rest = [
    user === null ? "" : ` as ${user}`,
    system === null ? "" : `, system ${system}`,
    certificate === null ? "" : `, certificate ${certificate.slice(0, 16)}...`,
    authority === null ? "" : `, authority ${authority.slice(0, 16)}...`,
    group === null ? "" : ` (of the group ${group})`,
  ];
  return `${method}${place}${rest.join("")}`;
}

/** The first line of standard input; from a terminal it is asked for and not shown. */
async function readPassword(whose: string): Promise<string> {
  if (process.stdin.isTTY) return askPassphrase(whose, "Password");
  let read = "";
  for await (const chunk of process.stdin) {
    read += String(chunk);
    if (read.includes("\n") || read.length > 1024) break;
  }
  return read.split(/\r?\n/)[0] ?? "";
}

/** An authority's certificate is small; whatever else was named is not read into memory. */
const authorityLimitBytes = 16 * 1024;
function readAuthority(file: string): string {
  try {
    const { size } = statSync(file);
    if (size <= authorityLimitBytes) return readFileSync(file, "utf8");
  } catch (error) {
    throw InvalidRequest({ problem: (error as Error).message, advice: authorityAdvice });
  }
  throw InvalidRequest({ problem: `${file} is too large for a certificate`, advice: authorityAdvice });
}
const authorityAdvice = "--authority names a file with the authority's certificate in PEM.";

interface Words {
  /** Of the resource, by its name. */
  readonly path: (name: string) => string;
  readonly whoseBoard: (name: string) => string;
  readonly sentence: (name: string, settings: PowerSettingsView | null) => string;
}

/** The same options for a machine and for the boards of a group. */
function registerSettings(command: Command, open: () => Session, words: Words): Command {
  return command
    .addOption(new Option("--method <method>", "the board, or one way alone").choices([...powerMethods]))
    .option("--port <number>", "where it does not listen at the usual one")
    .option("--user <user>", "on the board (of the machine for ssh)")
    .option("--password-stdin", "read the board's password from standard input, or ask for it")
    .option("--authority <file>", "PEM of who must have signed the board's certificate (redfish)")
    .option("--system <name>", "which system of a board that has several (redfish)")
    .action(async (name: string, options: PowerOptions) => {
      const session = open();
      const path = words.path(encodeURIComponent(name));
      const answer = (told: { settings: PowerSettingsView | null }) =>
        session.done(`${words.sentence(name, told.settings)}.`, told);
      if (options.remove) {
        await session.client.delete(path);
        return answer(await session.client.get(path));
      }
      const { method, passwordStdin, port, authority, address, user, certificate, system } = options;
      const given = { address, user, certificate, system };
      if (method === undefined) {
        if (passwordStdin || Object.values({ ...given, authority, port }).some((one) => one !== undefined))
          throw InvalidRequest({
            problem: "--method is missing: nothing was changed",
            advice: `Say which: --method ${powerMethods.join(", --method ")}.`,
          });
        return answer(await session.client.get(path));
      }
      const body = {
        method,
        ...given,
        ...(authority === undefined ? {} : { authority: readAuthority(authority) }),
        ...(port === undefined ? {} : { port: Number(port) }),
        ...(passwordStdin ? { password: await readPassword(words.whoseBoard(name)) } : {}),
      };
      answer(await session.client.put<{ settings: PowerSettingsView }>(path, body));
    });
}

export function registerMachinePower(machine: Command, open: () => Session): void {
  const power = machine
    .command("power <machine>")
    .description("how a machine is switched on and off; without options, show it")
    .option("--address <address>", "of the board (of the machine for ssh): IPv4 or host name")
    .option("--certificate <sha256>", "pin the board's certificate (redfish)")
    .option("--remove", "forget it: the group's board, or SSH and Wake-on-LAN are left")
    .addHelpText(
      "after",
      "\nExamples:\n  boot machine power s4 --method ipmi --address 10.0.0.50 --user admin --password-stdin < secret\n  boot machine power s4 --remove",
    );
  registerSettings(power, open, {
    path: (name) => `/machines/${name}/power`,
    whoseBoard: (name) => `the board of ${name}`,
    sentence: (name, settings) => `${name} is switched by ${powerInWords(settings)}`,
  });
}

export function registerGroupPower(group: Command, open: () => Session): void {
  const power = group
    .command("power <name>")
    .description("the boards of a group's machines, where nothing is set for one; without options, show them")
    .option(
      "--address <pattern>",
      "of each board, with {name} for the machine's name: '{name}-bmc.lab.example'",
    )
    .option("--remove", "forget them: what is set for each machine stays")
    .addHelpText(
      "after",
      "\nExample:\n  boot group power lab225 --method ipmi --address '{name}-bmc' --user admin --password-stdin < secret",
    );
  registerSettings(power, open, {
    path: (name) => `/groups/${name}/power`,
    whoseBoard: (name) => `the boards of ${name}`,
    sentence: (name, settings) =>
      settings === null
        ? `The group ${name} has no boards for its machines`
        : `Machines of ${name} are switched by ${powerInWords({ ...settings, group: null })}`,
  });
}
