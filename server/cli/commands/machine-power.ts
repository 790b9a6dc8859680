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
  readonly system: string | null;
}

interface PowerOptions {
  readonly method?: string;
  readonly address?: string;
  readonly port?: string;
  readonly user?: string;
  readonly certificate?: string;
  readonly system?: string;
  readonly passwordStdin?: boolean;
  readonly remove?: boolean;
}

/** `ipmi at 10.0.0.50 as admin`; the secret is nowhere. */
export function powerInWords(settings: PowerSettingsView | null | undefined): string {
  if (!settings) return "SSH while it runs, Wake-on-LAN while it is off";
  const { method, address, port, user, certificate, system } = settings;
  const place = address === null ? "" : ` at ${address}${port === null ? "" : `:${port}`}`;
  const rest = [
    user === null ? "" : ` as ${user}`,
    system === null ? "" : `, system ${system}`,
    certificate === null ? "" : `, certificate ${certificate.slice(0, 16)}...`,
  ];
  return `${method}${place}${rest.join("")}`;
}

/** The first line of standard input; from a terminal it is asked for and not shown. */
async function readPassword(machine: string): Promise<string> {
  if (process.stdin.isTTY) return askPassphrase(`the board of ${machine}`, "Password");
  let read = "";
  for await (const chunk of process.stdin) {
    read += String(chunk);
    if (read.includes("\n") || read.length > 1024) break;
  }
  return read.split(/\r?\n/)[0] ?? "";
}

export function registerMachinePower(machine: Command, open: () => Session): void {
  machine
    .command("power <machine>")
    .description("how a machine is switched on and off; without options, show it")
    .addOption(new Option("--method <method>", "the board, or one way alone").choices([...powerMethods]))
    .option("--address <address>", "of the board (of the machine for ssh): IPv4 or host name")
    .option("--port <number>", "where it does not listen at the usual one")
    .option("--user <user>", "on the board (of the machine for ssh)")
    .option("--password-stdin", "read the board's password from standard input, or ask for it")
    .option("--certificate <sha256>", "pin the board's certificate (redfish)")
    .option("--system <name>", "which system of a board that has several (redfish)")
    .option("--remove", "forget it: SSH and Wake-on-LAN are left")
    .addHelpText(
      "after",
      "\nExamples:\n  boot machine power s4 --method ipmi --address 10.0.0.50 --user admin --password-stdin < secret\n  boot machine power s4 --remove",
    )
    .action(async (name: string, options: PowerOptions) => {
      const session = open();
      const path = `/machines/${encodeURIComponent(name)}/power`;
      if (options.remove) {
        await session.client.delete(path);
        return session.done(`${name} is switched by ${powerInWords(null)}.`, {
          machine: name,
          settings: null,
        });
      }
      const { method, passwordStdin, port, address, user, certificate, system } = options;
      const given = { address, user, certificate, system };
      if (method === undefined) {
        if (passwordStdin || Object.values({ ...given, port }).some((one) => one !== undefined))
          throw InvalidRequest({
            problem: "--method is missing: nothing was changed",
            advice: `Say which: --method ${powerMethods.join(", --method ")}.`,
          });
        const shown = await session.client.get<{ settings: PowerSettingsView | null }>(path);
        return session.show(shown, () => `${name} is switched by ${powerInWords(shown.settings)}.\n`);
      }
      const body = {
        method,
        ...given,
        ...(port === undefined ? {} : { port: Number(port) }),
        ...(passwordStdin ? { password: await readPassword(name) } : {}),
      };
      const set = await session.client.put<{ settings: PowerSettingsView }>(path, body);
      session.done(`${name} is switched by ${powerInWords(set.settings)}.`, set);
    });
}
