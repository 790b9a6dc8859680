import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { discoveryKubeconfig } from "../../server/pki/join-secrets.ts";
import { administratorFile, masterFiles } from "../../server/pki/master-files.ts";
import { sampleAuthorities, sampleCluster, sampleMaster } from "../support/cluster-samples.ts";
import { temporaryDirectory } from "../support/samples.ts";

const kubectl = process.env["ROLLCALL_KUBECTL"] ?? "kubectl";

interface View {
  clusters: { name: string; cluster: { server: string } }[];
  contexts: { name: string; context: { cluster: string; user: string } }[] | null;
  users: { name: string; user: Record<string, string> }[] | null;
  "current-context": string;
}

t.test("kubectl reads every kubeconfig that we write", async (t) => {
  const authorities = await sampleAuthorities(t);
  const cluster = sampleCluster("1.31.0", { name: "lab225" });
  const directory = temporaryDirectory(t);
  const now = Date.now();
  const view = (name: string, content: string): View => {
    const file = join(directory, name);
    writeFileSync(file, content, { mode: 0o600 });
    return JSON.parse(
      execFileSync(kubectl, ["config", "view", "--raw", "--output", "json", "--kubeconfig", file], {
        encoding: "utf8",
      }),
    ) as View;
  };
  const files = await masterFiles(authorities, { cluster, machine: sampleMaster, isFirst: true, now });
  const kubeconfigs = files.filter(({ path }) => path.endsWith(".conf"));
  t.equal(kubeconfigs.length, 5);
  for (const { path, content } of [
    ...kubeconfigs,
    { path: "own.conf", content: await administratorFile(authorities, { cluster, now, lifeMs: 3_600_000 }) },
  ]) {
    const seen = view(path, content);
    const user = seen.users?.[0];
    t.match(
      seen.contexts,
      [{ name: `${user?.name}@lab225`, context: { cluster: "lab225", user: user?.name } }],
      path,
    );
    t.equal(seen["current-context"], `${user?.name}@lab225`);
    t.same(Object.keys(user?.user ?? {}).sort(), ["client-certificate-data", "client-key-data"]);
    t.match(seen.clusters, [{ name: "lab225", cluster: { server: /^https:\/\/.*:6443$/ } }]);
    t.notMatch(JSON.stringify(seen), /insecure/, "none needs the flag that trusts everybody");
  }
  const discovery = view("discovery.conf", discoveryKubeconfig(authorities, cluster));
  t.equal(discovery.clusters.length, 1);
  t.same([discovery.users ?? [], discovery.contexts ?? []], [[], []]);
});
