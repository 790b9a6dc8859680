import { X509Certificate } from "node:crypto";
import { InvalidRequest } from "../domain/error-catalogue.ts";
import type { RecordEvent } from "../domain/event.ts";
import type { Machine } from "../domain/machine.ts";
import { isBoardMethod } from "../domain/power.ts";
import {
  boardAddress,
  type GroupBoards,
  groupPasswordPurpose,
  passwordPurpose,
  type PowerSettings,
} from "../domain/power-settings.ts";
import type { Sealer } from "../pki/sealing.ts";
import type { PowerRepository } from "../store/power.ts";
import { checkBoards, checkPassword, checkSettings, type PowerSettingsInput } from "./check-settings.ts";

export interface PowerSettingsDeps {
  readonly record: RecordEvent;
  readonly store: Pick<
    PowerRepository,
    "settingsOf" | "saveSettings" | "removeSettings" | "boardsOf" | "saveBoards" | "removeBoards"
  >;
  readonly sealer: Sealer;
}

type Subject = Pick<Machine, "id" | "name" | "group">;

/** How each machine is switched: as was set for it, or as its group's boards are. Passwords go in and never come out again but to their board. */
export function createPowerSettings({ record, store, sealer }: PowerSettingsDeps) {
  /** The new password sealed, or the one that is kept where it was given for the same. @throws InvalidRequest */
  async function sealedFor(
    { method, password }: PowerSettingsInput,
    purpose: string,
    kept: { readonly purpose: string; readonly sealed: string | undefined } | undefined,
  ): Promise<string> {
    if (password !== undefined) {
      checkPassword(method, password);
      return sealer.seal(purpose, Buffer.from(password));
    }
    if (kept?.sealed !== undefined && kept.purpose === purpose) return kept.sealed;
    throw InvalidRequest({
      problem: `${method} needs a password; one that was given before counts for the same address, port, user and certificate only`,
      advice: "Say it with --password-stdin: it is read from standard input, or asked for.",
    });
  }

  function inherited({ name, group }: Subject): PowerSettings | undefined {
    const boards = group === undefined ? undefined : store.boardsOf(group);
    const address = boards && boardAddress(boards.address, name);
    if (!boards || address === undefined) return undefined;
    return { ...boards, address, certificate: undefined, group };
  }

  const told = (machineId: string | undefined, actor: string | undefined, message: string, data: object) =>
    record({ type: "machine.power-settings", machineId, actor, message, data: { ...data } });

  return {
    of: (machine: Subject): PowerSettings | undefined => store.settingsOf(machine.id) ?? inherited(machine),
    boardsOf: (group: string): GroupBoards | undefined => store.boardsOf(group),

    /** @throws InvalidRequest */
    async set(
      machine: Machine,
      input: PowerSettingsInput,
      actor: string | undefined,
    ): Promise<PowerSettings> {
      const checked = checkSettings(input);
      const { method, address } = checked;
      const known = store.settingsOf(machine.id);
      const kept = known && { purpose: passwordPurpose(machine.id, known), sealed: known.sealed };
      const sealed = isBoardMethod(method)
        ? await sealedFor(input, passwordPurpose(machine.id, checked), kept)
        : undefined;
      const settings = { ...checked, sealed, group: undefined };
      await store.saveSettings(machine.id, settings);
      const place = address === undefined ? "" : ` at ${address}`;
      const data = { method, address: address ?? null };
      told(machine.id, actor, `${machine.name} is switched by ${method}${place}`, data);
      return settings;
    },

    async remove(machine: Machine, actor: string | undefined): Promise<void> {
      if (!store.settingsOf(machine.id)) return;
      await store.removeSettings(machine.id);
      const message = `${machine.name} has no way of its own to be switched any more`;
      told(machine.id, actor, message, { method: null });
    },

    /** @throws InvalidRequest */
    async setBoards(
      group: string,
      input: PowerSettingsInput,
      actor: string | undefined,
    ): Promise<GroupBoards> {
      const checked = checkBoards(input);
      const { method, address } = checked;
      const known = store.boardsOf(group);
      const kept = known && { purpose: groupPasswordPurpose(group, known), sealed: known.sealed };
      const sealed = await sealedFor(input, groupPasswordPurpose(group, checked), kept);
      const boards = { ...checked, sealed };
      await store.saveBoards(group, boards);
      told(undefined, actor, `machines of ${group} are switched by ${method} at ${address}`, {
        group,
        method,
        address,
      });
      return boards;
    },

    async removeBoards(group: string, actor: string | undefined): Promise<void> {
      if (!store.boardsOf(group)) return;
      await store.removeBoards(group);
      told(undefined, actor, `machines of ${group} have no boards from it any more`, { group, method: null });
    },

    /** The password in the clear, for its board alone. @throws SealBroken */
    async passwordOf(machine: Pick<Machine, "id">, settings: PowerSettings): Promise<string> {
      const boards = settings.group === undefined ? undefined : store.boardsOf(settings.group);
      const purpose =
        settings.group !== undefined && boards
          ? groupPasswordPurpose(settings.group, boards)
          : passwordPurpose(machine.id, settings);
      if (settings.sealed === undefined) return "";
      return (await sealer.open(purpose, settings.sealed)).toString();
    },
  };
}
export type PowerSettingsService = ReturnType<typeof createPowerSettings>;

/** SHA-256 of an authority, as people compare it. */
export function fingerprintOf(authority: string | undefined): string | undefined {
  if (authority === undefined) return undefined;
  return new X509Certificate(authority).fingerprint256.replaceAll(":", "").toLowerCase();
}
