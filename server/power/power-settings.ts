import { InvalidRequest } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import type { PowerMethod } from "../domain/power.ts";
import {
  isPowerAddress,
  isPowerUser,
  isSystemName,
  passwordProblem,
  passwordPurpose,
  type PowerSettings,
} from "../domain/power-settings.ts";
import type { Sealer } from "../pki/sealing.ts";
import type { PowerRepository } from "../store/power.ts";

/** As people write it. */
export interface PowerSettingsInput {
  readonly method: PowerMethod;
  readonly address?: string;
  readonly port?: number;
  readonly user?: string;
  /** Left out: the one that is kept goes on, where method, address, port, user and certificate stay as they are. */
  readonly password?: string;
  readonly certificate?: string;
  readonly system?: string;
}

export interface PowerSettingsDeps {
  readonly record: RecordEvent;
  readonly store: Pick<PowerRepository, "settingsOf" | "saveSettings" | "removeSettings">;
  readonly sealer: Sealer;
}

const isBmc = (method: PowerMethod) => method === "ipmi" || method === "redfish";
const advice =
  "Example: boot machine power s4 --method ipmi --address 10.0.0.50 --user admin --password-stdin";

/** How each machine is switched. Passwords go in and never come out again but to their board. */
export function createPowerSettings({ record, store, sealer }: PowerSettingsDeps) {
  const refuse = (problem: string) => InvalidRequest({ problem, advice });

  /** @throws InvalidRequest */
  function check(input: PowerSettingsInput): Omit<PowerSettings, "sealed"> {
    const { method, port, user, system } = input;
    const address = input.address?.trim().toLowerCase();
    const certificate = input.certificate?.replaceAll(":", "").toLowerCase();
    if (address !== undefined && !isPowerAddress(address))
      throw refuse(`${JSON.stringify(address.slice(0, 60))} is no IPv4 address and no host name`);
    if (user !== undefined && !isPowerUser(user))
      throw refuse(`${JSON.stringify(user.slice(0, 60))} is no name of a user`);
    if (isBmc(method) && (address === undefined || user === undefined))
      throw refuse(`${method} needs the board's address and a user`);
    if (method === "wol" && (address ?? port ?? user ?? input.password) !== undefined)
      throw refuse("Wake-on-LAN goes to the machine's MACs and has no address, user or password");
    if (!isBmc(method) && input.password !== undefined)
      throw refuse("only IPMI and Redfish have a password; SSH uses this server's own key");
    if (method !== "redfish" && (certificate ?? system) !== undefined)
      throw refuse("a certificate and a system belong to Redfish");
    if (certificate !== undefined && !/^[0-9a-f]{64}$/.test(certificate))
      throw refuse("a certificate is pinned by its SHA-256: 64 hexadecimal digits");
    if (system !== undefined && !isSystemName(system))
      throw refuse(`${JSON.stringify(system.slice(0, 60))} is no name of a system`);
    return { method, address, port, user, certificate, system };
  }

  return {
    of: (machineId: string): PowerSettings | undefined => store.settingsOf(machineId),

    /** @throws InvalidRequest */
    async set(
      machine: Machine,
      input: PowerSettingsInput,
      actor: string | undefined,
    ): Promise<PowerSettings> {
      const checked = check(input);
      const { password } = input;
      const purpose = passwordPurpose(machine.id, checked);
      let sealed: string | undefined;
      if (password !== undefined) {
        const problem = passwordProblem(checked.method, password);
        if (problem !== undefined) throw refuse(problem);
        sealed = await sealer.seal(purpose, Buffer.from(password));
      } else if (isBmc(checked.method)) {
        const known = store.settingsOf(machine.id);
        if (known?.sealed === undefined || passwordPurpose(machine.id, known) !== purpose)
          throw refuse(
            `${checked.method} needs a password; one that was given before counts for the same address, port, user and certificate only`,
          );
        sealed = known.sealed;
      }
      const settings = { ...checked, sealed };
      await store.saveSettings(machine.id, settings);
      record({
        type: "machine.power-settings",
        machineId: machine.id,
        actor,
        message: `${machine.name} is switched by ${checked.method}${checked.address === undefined ? "" : ` at ${checked.address}`}`,
        data: { method: checked.method, address: checked.address ?? null },
      });
      return settings;
    },

    async remove(machine: Machine, actor: string | undefined): Promise<void> {
      if (!store.settingsOf(machine.id)) return;
      await store.removeSettings(machine.id);
      record({
        type: "machine.power-settings",
        machineId: machine.id,
        actor,
        message: `${machine.name} has no way of its own to be switched any more`,
        data: { method: null },
      });
    },

    /** The password in the clear, for its board alone. @throws SealBroken */
    async passwordOf(machineId: string, settings: PowerSettings): Promise<string> {
      if (settings.sealed === undefined) return "";
      return (await sealer.open(passwordPurpose(machineId, settings), settings.sealed)).toString();
    },
  };
}
export type PowerSettingsService = ReturnType<typeof createPowerSettings>;
