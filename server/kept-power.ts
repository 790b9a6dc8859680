/** Power over machines, put together: how each is switched, and the server's own SSH key. */
import { accessSync, constants } from "node:fs";
import type { AddressBook } from "./boot/address-book.ts";
import type { Config } from "./config/schema.ts";
import type { Clock, Udp } from "./domain/capabilities.ts";
import type { RecordEvent } from "./domain/event.ts";
import type { Machine } from "./domain/machine.ts";
import type { Power } from "./domain/power.ts";
import type { Role } from "./domain/role.ts";
import type { CallbackRouteDeps } from "./http/callback-routes.ts";
import { authorizedKey } from "./power/authorized-key.ts";
import { type Commands, createCommands } from "./power/commands.ts";
import { createHostKeys } from "./power/host-keys.ts";
import { createIpmi } from "./power/ipmi.ts";
import { openOwnKey } from "./power/own-key.ts";
import { createPower } from "./power/power.ts";
import { createPowerSettings, type PowerSettingsService } from "./power/power-settings.ts";
import { sweepPrivateDirectories } from "./power/private-files.ts";
import { createRedfish } from "./power/redfish.ts";
import { createSsh } from "./power/ssh.ts";
import { createSshTargets } from "./power/ssh-targets.ts";
import { createWakeOnLan } from "./power/wake-on-lan.ts";
import { readSubnet, type ServedInterface } from "./served-networks.ts";
import type { PowerRepository } from "./store/power.ts";

export interface KeptPowerDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly udp: Udp;
  readonly record: RecordEvent;
  readonly interfaces: readonly ServedInterface[];
  readonly store: { readonly machinePower: PowerRepository };
  /** By MAC, as last seen. */
  readonly addresses: Pick<AddressBook, "addressOf">;
  readonly roles: () => { readonly roles: ReadonlyMap<string, Role> };
}

export interface KeptPower {
  readonly power: Power;
  readonly powerSettings: PowerSettingsService;
  /** Pins what a machine's callback told of its SSH. */
  readonly noteHostKey: CallbackRouteDeps["noteHostKey"];
  /** For the machines' authorized_keys: what the server may do there, as the role has it. */
  readonly sshKey: (role: Pick<Role, "sshCommands">) => string;
  readonly commands: Commands;
}

/** @throws KeyFileRefused, SealBroken */
export async function keepPower(deps: KeptPowerDeps): Promise<KeptPower> {
  const { config, clock, udp, record, interfaces, store, addresses, roles } = deps;
  const hostKeys = createHostKeys({ clock, record, store: store.machinePower });
  const key = await openOwnKey(config.dataDir);
  const powerSettings = createPowerSettings({ record, store: store.machinePower, sealer: key.sealer });
  const privateDirectory = memoryDirectory() ?? config.dataDir;
  await sweepPrivateDirectories(privateDirectory);
  const relayed = config.dhcp.subnets
    .map(readSubnet)
    .flatMap(({ subnet, relay }) => (relay === undefined ? [] : [subnet]));
  const addressOf = ({ macs }: Machine) =>
    macs.map((mac) => addresses.addressOf(mac)).find((address) => address !== undefined);
  const { hostKeyOf } = store.machinePower;
  const targets = createSshTargets({ record, settings: powerSettings, hostKeyOf, addressOf });
  return {
    power: createPower({
      clock,
      record,
      settings: powerSettings,
      addressOf,
      targets,
      ssh: createSsh({ clock, key }),
      boards: { ipmi: createIpmi({ clock, privateDirectory }), redfish: createRedfish({ clock }) },
      wake: createWakeOnLan({ clock, udp, interfaces, relayed }),
    }),
    powerSettings,
    noteHostKey: ({ target, ...report }) => {
      const role = target.kind === "role" ? roles().roles.get(target.role) : undefined;
      return hostKeys.note({ ...report, user: role?.sshUser, commands: role?.sshCommands });
    },
    sshKey: ({ sshCommands }) => authorizedKey(key.publicKey, sshCommands),
    commands: createCommands({ clock, record, key, targets }),
  };
}

/** Secrets that programs read from files lie in memory for that moment, where this host has such a place. */
function memoryDirectory(): string | undefined {
  const directory = "/dev/shm";
  try {
    accessSync(directory, constants.W_OK);
    return directory;
  } catch {
    return undefined;
  }
}
