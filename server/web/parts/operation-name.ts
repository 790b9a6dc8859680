import type { OperationSummary } from "../api-types.ts";
import { say } from "../words.ts";

/** What an operation does, in the reader's words. What it assigns is a stranger's text: to be shown by `ForeignText`. */
export function operationName({
  kind,
  action,
  target,
}: Pick<OperationSummary, "kind" | "action" | "target">): string {
  switch (kind) {
    case "assign":
      return say("operation.assign", { target: target ?? "" });
    case "reset":
      return say("operation.reset");
    case "power":
      return action === null
        ? say("operation.power")
        : say(
            ({ on: "operation.powerOn", off: "operation.powerOff", cycle: "operation.powerCycle" } as const)[
              action
            ],
          );
  }
}
