import { say } from "../words.ts";

/** @param operation the one whose steps are shown; undefined: the list */
export function OperationsView({ operation: _operation }: { operation?: string }) {
  return <h1>{say("operations.title")}</h1>;
}
