import { createInterface } from "node:readline/promises";
import type { Command } from "commander";
import { seeThrough } from "../follow-operation.ts";
import type { Session } from "../session.ts";
import { powerInWords, type PowerSettingsView } from "./machine-power.ts";

interface ResetPlan {
  readonly steps: readonly string[];
  readonly plan: readonly {
    readonly machine: string;
    /** What it boots into. */
    readonly role: string;
    readonly power: PowerSettingsView | null;
    readonly steps: readonly string[];
  }[];
}
interface ResetOptions {
  students?: boolean;
  destroyCluster?: string;
  dryRun?: boolean;
  yes?: boolean;
  wait: boolean;
}

/** `s4, s5, s6 and 27 more` */
function someNames(names: readonly string[]): string {
  return names.length <= 10
    ? names.join(", ")
    : `${names.slice(0, 10).join(", ")} and ${names.length - 10} more`;
}

/** Asks at the terminal; where nobody sits, only --yes is a yes. */
async function isMeant(session: Session, command: Command, question: string): Promise<boolean> {
  if (!session.isTerminal || process.stdin.isTTY !== true)
    command.error(`error: ${question} If it is meant, add --yes.`, { exitCode: 2 });
  const asking = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await asking.question(`${question} Go on? [y/N] `)).trim());
  } finally {
    asking.close();
  }
}

export function resetCommand(program: Command, open: () => Session): void {
  program
    .command("reset <machines>")
    .description(
      "take machines back to their roles, clean: out of the cluster, claims revoked, power-cycled, proven",
    )
    .option("--students", "all students, their objects and tokens go too")
    .option("--destroy-cluster <name>", "the cluster's name: all of it goes back to nothing")
    .option("--dry-run", "only tell what would be done")
    .option("--yes", "do not ask")
    .option("--no-wait", "do not wait for its end")
    .addHelpText(
      "after",
      "\nExamples:\n  boot reset lab225 --students\n  boot reset s4 --yes\n  boot reset lab225 --dry-run",
    )
    .action(async (machines: string, options: ResetOptions, command: Command) => {
      const session = open();
      const body = {
        machines,
        ...(options.students ? { students: true } : {}),
        ...(options.destroyCluster === undefined ? {} : { destroyCluster: options.destroyCluster }),
      };
      const plan = await session.client.post<ResetPlan>("/resets", { ...body, dryRun: true });
      const names = plan.plan.map(({ machine }) => machine);
      if (options.dryRun) {
        session.show(plan, () => ({
          columns: ["machine", "boots into", "switched by", "steps"],
          rows: plan.plan.map(({ machine, role, power, steps }) => [
            machine,
            role,
            powerInWords(power),
            [...plan.steps, ...steps].join(", "),
          ]),
          empty: "No machine is in this host set.",
        }));
        return session.say("Nothing was changed (--dry-run).");
      }
      const question = `This restarts ${names.length} ${names.length === 1 ? "machine" : "machines"} and ends what runs on them: ${someNames(names)}.${options.students ? " All students and what is theirs go too." : ""}`;
      if (!options.yes && !(await isMeant(session, command, question)))
        return session.say("Nothing was changed.");
      const { operation } = await session.client.post<{ operation: string }>("/resets", body);
      await seeThrough(session, operation, { isWaited: options.wait });
    });
}
