import type { Command } from "commander";
import { describeActor } from "../../domain/assignment.ts";
import type { Paint } from "../colour.ts";
import { durationMs } from "../durations.ts";
import { formatLine, safeText } from "../output.ts";
import type { Session } from "../session.ts";

export interface EventView {
  seq: number;
  at: string;
  type: string;
  level: string;
  machine: string | null;
  actor: string | null;
  message: string;
}

interface EventOptions {
  follow?: boolean;
  machine?: string;
  type?: string;
  actor?: string;
  since?: number;
  limit: string;
}

const line = (event: EventView, paint: Paint) =>
  `${event.at}  ${event.level === "info" ? "" : `${paint(event.level.toUpperCase())} `}${event.type}  ${safeText(event.message)}${event.actor ? ` (${describeActor(event.actor)})` : ""}`;

export function eventCommands(program: Command, open: () => Session): void {
  program
    .command("events")
    .description("what happened, newest last")
    .option("--follow", "go on until Ctrl-C")
    .option("--machine <machine>", "of one machine")
    .option("--type <type>", "of one type, or its beginning: machine, claim.refused")
    .option("--actor <name>", "of one person: name of a token, or local")
    .option("--since <time>", "of the last 90m, 2h, 3d", durationMs)
    .option("--limit <number>", "how many", "50")
    .addHelpText(
      "after",
      "\nExamples:\n  boot events --machine s4 --follow\n  boot events --actor anna --since 2h --type assignment",
    )
    .action(async (options: EventOptions) => {
      const session = open();
      const query = new URLSearchParams({
        limit: options.limit,
        ...(options.machine ? { machine: options.machine } : {}),
        ...(options.type ? { type: options.type } : {}),
        ...(options.actor ? { actor: options.actor } : {}),
        ...(options.since === undefined ? {} : { from: new Date(Date.now() - options.since).toISOString() }),
      });
      if (options.follow) {
        for await (const event of session.client.events(`/events?${query}`))
          process.stdout.write(
            session.format === "json"
              ? formatLine(event)
              : `${line(event as unknown as EventView, session.paint)}\n`,
          );
        return;
      }
      const { items } = await session.client.get<{ items: EventView[] }>(`/events?${query}`);
      session.show(items, () =>
        items.length > 0
          ? `${items.map((event) => line(event, session.paint)).join("\n")}\n`
          : "Nothing happened yet.\n",
      );
    });
}
