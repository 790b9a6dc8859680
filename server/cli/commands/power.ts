import type { Command } from "commander";
import { type PowerAction, powerActions } from "../../domain/power.ts";
import { seeThrough } from "../follow-operation.ts";
import type { Session } from "../session.ts";

const descriptions: Readonly<Record<PowerAction, string>> = {
  on: "switch machines on; one that is on stays as it is",
  off: "switch machines off",
  cycle: "restart machines; one that is off is switched on",
};

interface PowerStatus {
  readonly machine: string;
  readonly method: string | null;
  readonly state: string;
  readonly problem: string | null;
}

export function powerCommands(program: Command, open: () => Session): void {
  const power = program.command("power").description("switch machines on and off, and see which are on");
  for (const action of powerActions)
    power
      .command(`${action} <machines>`)
      .description(descriptions[action])
      .option("--no-wait", "do not wait for its end")
      .addHelpText("after", `\nExample:\n  boot power ${action} 's[4-9]'`)
      .action(async (machines: string, options: { wait: boolean }) => {
        const session = open();
        const { operation } = await session.client.post<{ operation: string }>("/power", {
          machines,
          action,
        });
        await seeThrough(session, operation, { isWaited: options.wait });
      });
  power
    .command("status <machines>")
    .description("which machines are on, as far as their methods can tell")
    .addHelpText("after", "\nExample:\n  boot power status lab225")
    .action(async (machines: string) => {
      const session = open();
      const { items } = await session.client.get<{ items: PowerStatus[] }>(
        `/power?machines=${encodeURIComponent(machines)}`,
      );
      session.show(items, () => ({
        columns: ["machine", "power", "method", "problem"],
        rows: items.map(({ machine, state, method, problem }) => [machine, state, method, problem]),
        empty: "No machine is in this host set.",
      }));
      if (items.some(({ problem }) => problem !== null)) process.exitCode = 1;
    });
}
