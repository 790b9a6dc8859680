import { type Command, InvalidArgumentError } from "commander";
import { formatDeclaredCounts } from "../../domain/declared-object.ts";
import { formatAge, formatTable, type Table } from "../output.ts";
import type { Session } from "../session.ts";
import { clusterEndpointCommands } from "./cluster-endpoint.ts";

interface ClusterNodeView {
  readonly machine: string;
  readonly role: string;
  readonly state: string;
  readonly since: string;
  readonly address: string;
  readonly problem: string | null;
}

interface DeclaredView {
  readonly applied: number;
  readonly waiting: number;
  readonly refused: number;
  readonly problems: readonly {
    readonly file: string;
    readonly document: string | null;
    readonly line: number | null;
    readonly object: string | null;
    readonly reason: string;
  }[];
}

interface ClusterView {
  readonly name: string;
  readonly kubernetesVersion: string;
  readonly endpoint: string;
  readonly authorityHash: string;
  readonly etcdMode: "server" | "ephemeral" | "stacked";
  readonly state: string;
  readonly generation: number;
  readonly readyMasters: number;
  /** Null: the config names no directory of objects. */
  readonly declaredObjects: DeclaredView | null;
  readonly nodes: readonly ClusterNodeView[];
}

interface TransitionView {
  readonly at: string;
  readonly machine: string | null;
  readonly from: string;
  readonly to: string;
  readonly cause: string;
}

/** What `cluster.etcd` means to whoever looks. */
const etcdModes = {
  server: "on the server's disk",
  ephemeral: "each start of the cluster is a new one, and nothing of the one before is left",
  stacked: "in the masters' RAM",
};

const nodesTable = (nodes: readonly ClusterNodeView[], now: number): Table => ({
  columns: ["machine", "role", "state", "since", "address", "problem"],
  rows: nodes.map((node) => [
    node.machine,
    node.role,
    node.state,
    formatAge(node.since, now),
    node.address,
    node.problem,
  ]),
  empty:
    "No machine has called back to join. Assign roles, boot m1 master && boot 's[4-9]' worker, and switch the machines on.",
});

/** How many refused documents are shown; the others are in `--output yaml`. */
const shownRefused = 10;

/** `Declared objects: 12 applied, 1 refused:` and a line for each that is. */
function declaredLines(declared: DeclaredView | null): string[] {
  if (!declared) return [];
  const { applied, waiting, refused, problems } = declared;
  const counts = formatDeclaredCounts(applied, waiting, refused) + (refused > 0 ? ":" : "");
  const lines = problems.slice(0, shownRefused).map(({ file, document, line, object, reason }) => {
    const where = [file, document, line === null ? null : `(line ${line})`, object];
    return `  ${where.filter((word) => word !== null).join(" ")}: ${reason}`;
  });
  const more = refused - lines.length;
  return [`Declared objects: ${counts}`, ...lines, ...(more > 0 ? [`  and ${more} more`] : [])];
}

/** On standard error, since what is printed is often written into a file: it is right already, and no API server answers there yet. */
async function sayWhatIsMissing(client: Session["client"]): Promise<void> {
  const { state, endpoint } = await client.get<ClusterView>("/cluster");
  if (state === "up") return;
  process.stderr.write(
    `The cluster is ${state}: nobody answers at ${endpoint} yet. It is of use once boot cluster show says up.\n`,
  );
}

interface ArmView {
  readonly armed: string;
  readonly role: string;
  /** What its role makes of it at its next boot. */
  readonly nodeRole: "master" | "worker" | null;
}

function armedSentence({ armed, role, nodeRole }: ArmView, windowMinutes: number): string {
  const window = `within ${windowMinutes} minutes`;
  if (nodeRole === "master") return `${armed} may join with its next boot ${window}.`;
  const what = nodeRole === null ? "no node" : "a worker, which needs no arming";
  return `${armed} is armed, but its role ${role} makes it ${what}. Nothing comes of it unless it boots ${window} with a master's role: boot ${armed} master`;
}

function minutes(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1440)
    throw new InvalidArgumentError("it must be a number of minutes from 1 to 1440");
  return value;
}

function sixDigits(text: string): string {
  if (!/^[0-9]{6}$/.test(text))
    throw new InvalidArgumentError("it must be the six digits on the machine's screen");
  return text;
}

export function clusterCommands(program: Command, open: () => Session): void {
  const cluster = program.command("cluster").description("the Kubernetes cluster of masters and workers");

  cluster
    .command("show")
    .description("the cluster, its masters and workers, and what each waits for")
    .addHelpText("after", "\nExample:\n  boot cluster show")
    .action(async () => {
      const session = open();
      const view = await session.client.get<ClusterView>("/cluster");
      session.show(view, () =>
        [
          `Cluster ${view.name}: ${view.state}, Kubernetes ${view.kubernetesVersion}, generation ${view.generation}`,
          `Endpoint ${view.endpoint}, ${view.readyMasters} of ${view.nodes.filter(({ role }) => role === "master").length} masters answer`,
          `Etcd ${view.etcdMode}: ${etcdModes[view.etcdMode]}`,
          `Authority ${view.authorityHash}`,
          ...declaredLines(view.declaredObjects),
          "",
          formatTable(nodesTable(view.nodes, Date.now())),
        ].join("\n"),
      );
    });

  cluster
    .command("kubeconfig")
    .description("print a kubeconfig for the cluster's administrator; a secret, good for 30 days")
    .addHelpText(
      "after",
      "\nExample:\n  umask 077; boot cluster kubeconfig > ~/.kube/config && kubectl get nodes",
    )
    .action(async () => {
      const { client } = open();
      process.stdout.write(await client.get<string>("/cluster/kubeconfig"));
      await sayWhatIsMissing(client);
    });

  cluster
    .command("join [name]")
    .description(
      "how a machine that is none of ours joins as a worker; with its name, the command with a token",
    )
    .addHelpText("after", "\nExample:\n  boot cluster join lab-nas")
    .action(async (name: string | undefined) => {
      const session = open();
      if (name === undefined) {
        const answer = await session.client.get<{ command: string }>("/cluster/join");
        session.show(
          answer,
          () => `${answer.command}\nFor a command with a token name the machine: boot cluster join NAME\n`,
        );
        await sayWhatIsMissing(session.client);
        return;
      }
      const made = await session.client.post<{ command: string; expiresAt: string }>("/cluster/join", {
        name,
      });
      session.show(
        made,
        () => `${made.command}\nThe token is good for the Node ${name} and until ${made.expiresAt}.\n`,
      );
    });

  cluster
    .command("arm <machine>")
    .description("let a master join: the one that shows a code, or the next that boots within the time")
    .option("--code <digits>", "the code on the machine's screen", sixDigits)
    .option("--for <minutes>", "how long the window is open; default: 15", minutes)
    .addHelpText(
      "after",
      "\nExamples:\n  boot cluster arm m1 --code 412907\n  boot cluster arm m1 --for 30     before it is switched on",
    )
    .action(async (machine: string, options: { code?: string; for?: number }) => {
      const session = open();
      const answer = await session.client.post<ArmView>("/cluster/arm", {
        machine,
        ...(options.code === undefined ? {} : { code: options.code }),
        ...(options.for === undefined ? {} : { minutes: options.for }),
      });
      session.done(
        options.code === undefined ? armedSentence(answer, options.for ?? 15) : `${machine} joins now.`,
        answer,
      );
    });

  cluster
    .command("retry <machine>")
    .description("let a machine that was given up try again, without a reboot")
    .addHelpText("after", "\nExample:\n  boot cluster retry s7")
    .action(async (machine: string) => {
      const session = open();
      const { released } = await session.client.post<{ released: boolean }>("/cluster/release", { machine });
      session.done(
        released
          ? `${machine} tries again.`
          : `${machine} was not given up; boot cluster show tells its state.`,
        { machine, released },
      );
    });

  cluster
    .command("reset [machine]")
    .description("take a machine out of the cluster, drained, and boot it anew; or the whole cluster")
    .option("--destroy-cluster <name>", "the cluster's name: its last master, or all of it, may go")
    .addHelpText(
      "after",
      "\nExamples:\n  boot cluster reset s7\n  boot cluster reset --destroy-cluster kubernetes     back to nothing",
    )
    .action(async (machine: string | undefined, options: { destroyCluster?: string }) => {
      const session = open();
      const view = await session.client.post<ClusterView>("/cluster/reset", {
        ...(machine === undefined ? {} : { machine }),
        ...(options.destroyCluster === undefined ? {} : { destroyCluster: options.destroyCluster }),
      });
      session.done(
        machine === undefined
          ? `The cluster ${view.name} is back to nothing; its machines reboot. boot cluster show follows them.`
          : `${machine} is drained and reboots. boot cluster show follows it.`,
        view,
      );
    });

  clusterEndpointCommands(cluster, open);

  cluster
    .command("log [machine]")
    .description("each step of the cluster and its machines, the newest first")
    .addHelpText("after", "\nExample:\n  boot cluster log m1")
    .action(async (machine: string | undefined) => {
      const session = open();
      const query = machine === undefined ? "" : `?machine=${encodeURIComponent(machine)}`;
      const { items } = await session.client.get<{ items: TransitionView[] }>(`/cluster/transitions${query}`);
      session.show(items, () => ({
        columns: ["at", "machine", "from", "to", "because"],
        rows: items.map(({ at, machine: name, from, to, cause }) => [
          at,
          name ?? "(cluster)",
          from,
          to,
          cause,
        ]),
        empty:
          machine === undefined
            ? "Nothing has happened yet: no machine has called back. Assign roles, boot m1 master, and switch the machines on."
            : `${machine} has not called back since it is in the inventory. Its way begins when it boots as a master or worker: boot explain ${machine}`,
      }));
    });
}
