import { type Command, Option } from "commander";
import { driverChoices, localBootMethods, ramChecks } from "../../domain/boot-preferences.ts";
import { nearestWord } from "../nearest-word.ts";
import type { Session } from "../session.ts";

/** What `boot machine add|edit` and `boot group edit` have in common. */
export interface EditOptions {
  mac?: string[];
  name?: string;
  group?: string;
  seat?: string;
  address?: string;
  label?: string[];
  localBoot?: string;
  driver?: string;
  ramCheck?: string;
}

/** An empty text takes a fact away. */
export function editBody(options: EditOptions): Record<string, unknown> {
  const { mac, name, group, seat, address, label, localBoot, driver, ramCheck } = options;
  const emptied = (text: string | undefined) => (text === undefined ? {} : text === "" ? null : text);
  return Object.fromEntries(
    Object.entries({
      name,
      macs: mac,
      group: emptied(group),
      seat: emptied(seat),
      address: emptied(address),
      localBoot: emptied(localBoot),
      driver: emptied(driver),
      ramCheck: emptied(ramCheck),
      labels:
        label &&
        Object.fromEntries(label.map((text) => [text.split("=")[0], text.slice(text.indexOf("=") + 1)])),
    }).filter(
      ([, value]) =>
        value !== undefined &&
        (typeof value !== "object" ||
          value === null ||
          Array.isArray(value) ||
          Object.keys(value).length > 0),
    ),
  );
}

/** Of a group that a slip may have made; to be asked before the machine is put into it. */
export async function newGroupNote(
  { client }: Session,
  machine: string,
  group: string | undefined,
): Promise<string> {
  if (group === undefined || group === "") return "";
  const groups = (await client.list<{ name: string }>("/groups")).map(({ name }) => name);
  if (groups.includes(group)) return "";
  const near = nearestWord(group, groups);
  return `The group ${group} is new.${near === undefined ? "" : ` If you meant ${near}: boot machine edit ${machine} --group ${near}`}\n`;
}

export function withFacts(command: Command): Command {
  return command
    .option("--mac <macs...>", "MAC addresses, the one it boots from first")
    .option("--group <name>", "room or other group")
    .option("--seat <place>", "place in the room")
    .option("--address <ip>", "address reserved for it (authoritative DHCP)")
    .option("--label <name=value...>", "labels, in place of all former ones")
    .addOption(localBootOption())
    .addOption(driverOption())
    .addOption(ramCheckOption());
}

export const localBootOption = () =>
  new Option("--local-boot <method>", "how it gets to its local disk").choices([...localBootMethods, ""]);
export const ramCheckOption = () =>
  new Option("--ram-check <choice>", "ignore: it boots also what its RAM seems too little for").choices([
    ...ramChecks,
    "",
  ]);
export const driverOption = () =>
  new Option("--driver <driver>", "network driver of its first-stage program").choices([
    ...driverChoices,
    "",
  ]);
