import { say } from "../words.ts";

export function ClusterView() {
  return <h1>{say("cluster.title")}</h1>;
}
