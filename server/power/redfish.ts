import type { Clock } from "../domain/capabilities.ts";
import { BmcRefused, BmcUnreachable } from "../domain/error-catalogue.ts";
import type { PowerAction, PowerState } from "../domain/power.ts";
import { isSystemName } from "../domain/power-settings.ts";
import type { Bmc, BmcTarget } from "./bmc.ts";
import { pause, TimeIsUp, within } from "./pause.ts";
import { connectRedfish, type Document, type RedfishConnection } from "./redfish-connection.ts";

export interface RedfishDeps {
  readonly clock: Clock;
  readonly limitMs?: number;
}

/** Boards are slow: each document may take seconds. */
const usualLimitMs = 30_000;
/** How long a system may take to be off, and how often it is asked, ms. */
const offLimitMs = 15_000;
const askEveryMs = 500;

/**
 * What is asked of ComputerSystem.Reset, the best first (DSP0268, ResetType). Not the graceful ones: a system that can end by itself was
 * asked by SSH before, and one that hangs must obey.
 */
const resetTypes: Readonly<Record<PowerAction, readonly string[]>> = {
  on: ["On", "ForceOn"],
  off: ["ForceOff", "GracefulShutdown"],
  cycle: ["ForceRestart", "PowerCycle", "GracefulRestart"],
};

/** Boards that speak Redfish (DSP0266), with a pinned certificate. */
export function createRedfish({ clock, limitMs = usualLimitMs }: RedfishDeps): Bmc {
  /** @throws BmcUnreachable, BmcRefused, BmcCertificateRefused */
  async function withSystem<T>(
    target: BmcTarget,
    signal: AbortSignal,
    use: (system: Document, connection: RedfishConnection, signal: AbortSignal, path: string) => Promise<T>,
  ): Promise<T> {
    const { machine, address } = target;
    try {
      return await within(clock, limitMs, signal, async (signal) => {
        const connection = connectRedfish(target, signal);
        try {
          const path = await systemPath(connection, target);
          return await use(await connection.get(path), connection, signal, path);
        } finally {
          connection.close();
        }
      });
    } catch (error) {
      if (error instanceof TimeIsUp)
        throw BmcUnreachable({ machine, method: "Redfish", address, reason: error.message });
      throw error;
    }
  }

  return {
    status: (target, signal) => withSystem(target, signal, async (system) => stateOf(system)),
    act: (target, action, signal) =>
      withSystem(target, signal, async (system, connection, signal, path): Promise<PowerState> => {
        const reset = await resetOf(system, connection, target);
        const order = async (one: PowerAction, types = resetTypes[one]): Promise<boolean> => {
          const type = types.find((name) => reset.allowed === undefined || reset.allowed.includes(name));
          if (type !== undefined) await connection.post(reset.path, { ResetType: type });
          return type !== undefined;
        };
        const refuse = () => {
          const { machine, address } = target;
          const reason = `it allows no ResetType to ${action}: ${(reset.allowed ?? []).join(", ").slice(0, 100)}`;
          return BmcRefused({ machine, method: "Redfish", address, reason });
        };
        // What stands as it should is left alone: some boards refuse `On` for a system that is on.
        if (stateOf(system) === action) return action;
        if (action !== "cycle") {
          if (!(await order(action))) throw refuse();
          return action;
        }
        if (stateOf(system) === "off") {
          if (!(await order("on"))) throw refuse();
          return "on";
        }
        if (await order("cycle")) return "on";
        // A board that can't restart can still do it in two steps.
        if (!(await order("off", ["ForceOff"]))) throw refuse();
        const until = clock.monotonicMs() + offLimitMs;
        while (stateOf(await connection.get(path)) !== "off" && clock.monotonicMs() < until)
          await pause(clock, askEveryMs, signal);
        if (!(await order("on"))) throw refuse();
        return "on";
      }),
  };
}

function stateOf(system: Document): PowerState {
  const state = system["PowerState"];
  // DSP0268, PowerState: PoweringOn and PoweringOff are neither yet.
  return state === "On" ? "on" : state === "Off" ? "off" : "unknown";
}

function linkOf(document: unknown, name: string): unknown {
  if (typeof document !== "object" || document === null) return undefined;
  const value = (document as Document)[name];
  return name === "@odata.id" ? value : linkOf(value, "@odata.id");
}

/** The one system of a board, or the one that was named. */
async function systemPath(connection: RedfishConnection, target: BmcTarget): Promise<string> {
  const { machine, address, system } = target;
  if (system !== undefined && isSystemName(system)) return `/redfish/v1/Systems/${system}`;
  const root = await connection.get("/redfish/v1/");
  const systems = linkOf(root, "Systems");
  const { Members: members } = systems === undefined ? {} : await connection.get(systems);
  const links = Array.isArray(members) ? members.map((one) => linkOf(one, "@odata.id")) : [];
  const [only] = links;
  if (links.length === 1 && typeof only === "string") return only;
  const names = links
    .map((one) => String(one).split("/").at(-1))
    .join(", ")
    .replaceAll(/[^\x20-\x7e]/g, "?");
  const reason =
    links.length === 0
      ? "it has no system"
      : `it has several systems, name one with --system: ${names.slice(0, 150)}`;
  throw BmcRefused({ machine, method: "Redfish", address, reason });
}

/** Where the reset is asked for, and what it may be; undefined: the board does not say. */
async function resetOf(
  system: Document,
  connection: RedfishConnection,
  { machine, address }: BmcTarget,
): Promise<{ path: string; allowed: readonly string[] | undefined }> {
  const actions = system["Actions"] as Document | undefined;
  const reset = actions?.["#ComputerSystem.Reset"] as Document | undefined;
  const path = reset?.["target"];
  if (typeof path !== "string")
    throw BmcRefused({
      machine,
      method: "Redfish",
      address,
      reason: "its system has no ComputerSystem.Reset",
    });
  const names = (value: unknown) =>
    Array.isArray(value) ? value.filter((one) => typeof one === "string").slice(0, 40) : undefined;
  const inline = names(reset?.["ResetType@Redfish.AllowableValues"]);
  if (inline) return { path, allowed: inline };
  const info = reset?.["@Redfish.ActionInfo"];
  if (typeof info !== "string") return { path, allowed: undefined };
  const { Parameters: parameters } = await connection.get(info);
  const type = (Array.isArray(parameters) ? (parameters as Document[]) : []).find(
    (one) => one["Name"] === "ResetType",
  );
  return { path, allowed: names(type?.["AllowableValues"]) };
}
