import type { Machine } from "../../server/domain/machine.ts";
import type { Power, PowerAction, PowerMethod } from "../../server/domain/power.ts";
import { type BootLimits, bootLimits } from "../../server/operations/boot-steps.ts";
import type { RunnerLimits } from "../../server/operations/runner.ts";
import type { TestServer } from "./http-fixture.ts";
import { macOf } from "./samples.ts";

/** Nothing is waited for in vain: what waits is looked at again soon. */
export const quickLimits: RunnerLimits & BootLimits = {
  ...bootLimits,
  bootMs: 600_000,
  readyMs: 600_000,
  atOnce: 16,
  perOperation: 8,
  lookMs: 120_000,
  pollMs: 25,
  tries: 3,
  retryMs: 1,
};

export interface Order {
  readonly machine: string;
  readonly action: PowerAction;
}

export interface FakePower extends Power {
  readonly orders: Order[];
  /** The most that were given at the same time. */
  readonly mostAtOnce: number;
}

/**
 * Machines whose power obeys: each order is taken, and then `obey` is what the machine does of it.
 * @param refuse what the method throws, where it does not take the order
 */
export function createFakePower({
  obey = () => undefined,
  refuse = () => undefined,
  method = "redfish",
}: {
  obey?: (machine: Machine, action: PowerAction) => unknown;
  refuse?: (machine: Machine, order: number) => Error | undefined;
  method?: PowerMethod;
} = {}): FakePower {
  const orders: Order[] = [];
  let underWay = 0;
  let mostAtOnce = 0;
  return {
    orders,
    get mostAtOnce() {
      return mostAtOnce;
    },
    async act(machine, action) {
      underWay += 1;
      mostAtOnce = Math.max(mostAtOnce, underWay);
      orders.push({ machine: machine.name, action });
      try {
        await new Promise((resolve) => setImmediate(resolve));
        const refused = refuse(machine, orders.length);
        if (refused) throw refused;
      } finally {
        underWay -= 1;
      }
      obey(machine, action);
      return { method, state: action === "off" ? "off" : "on" };
    },
    status: async () => ({ method, state: "unknown" }),
  };
}

/** Where a machine of the tests stops. */
export type BootStop = "script" | "assets" | "config" | "ready";

/**
 * Plays a machine's boot over HTTP as its firmware, initramfs and system do: script, files of its image, config, callback.
 * @param number of the machine in the tests @returns the boot's claim
 */
export async function playBoot(
  server: Pick<TestServer, "ask" | "script">,
  number: number,
  stop: BootStop = "ready",
): Promise<string> {
  const { text } = await server.script(number);
  const files = [...text.matchAll(/\/assets\/[0-9a-f]{64}\/[^\s"]+/g)].map(([path]) => path);
  const claim = /\/callback\/([a-z0-9]+)/.exec(text)?.[1] ?? "";
  if (stop === "script") return claim;
  for (const path of new Set(files)) await server.ask(path, { from: number });
  if (stop === "assets") return claim;
  await server.ask(`/boot/claims/${claim}/cloud-init/user-data`, { from: number });
  if (stop === "ready") await callBack(server, number, claim);
  return claim;
}

/** What a machine repeats until it has an answer. */
export const callBack = (server: Pick<TestServer, "ask">, number: number, claim: string) =>
  server.ask(`/callback/${claim}/joined`, { method: "POST", from: number });

/** The number of a machine of the tests. */
export function numberOf({ macs }: Pick<Machine, "macs">): number {
  return Number.parseInt((macs[0] ?? macOf(0)).replaceAll(":", "").slice(6), 16);
}
