import type { Command } from "commander";
import type { Session } from "../session.ts";

/** Files for an endpoint outside of this server. */
export function clusterEndpointCommands(cluster: Command, open: () => Session): void {
  const endpoint = cluster
    .command("endpoint")
    .description("the cluster's endpoint outside of this server: files for haproxy and keepalived");

  async function print(
    file: string,
    options: Readonly<Record<string, string>> = {},
    { client } = open(),
  ): Promise<void> {
    const query = new URLSearchParams(options).toString();
    process.stdout.write(
      await client.get<string>(`/cluster/endpoint/${file}${query === "" ? "" : `?${query}`}`),
    );
  }

  endpoint
    .command("haproxy")
    .description("print haproxy.cfg, with the masters as they are now")
    .option(
      "--bind-address <address>",
      "where it listens; default: 0.0.0.0, which keepalived's check needs too",
    )
    .option(
      "--authority-file <path>",
      "the cluster's authority on that machine; default: /etc/haproxy/kubernetes-ca.crt",
    )
    .addHelpText(
      "after",
      "\nExamples:\n  boot cluster endpoint haproxy > /etc/haproxy/haproxy.cfg\n  boot cluster endpoint authority > /etc/haproxy/kubernetes-ca.crt",
    )
    .action(async (options: Record<string, string>) => {
      const session = open();
      await print("haproxy", options, session);
      const { nodes } = await session.client.get<{ nodes: { role: string }[] }>("/cluster");
      if (!nodes.some(({ role }) => role === "master"))
        process.stderr.write(
          "There is no master in it, for none has called back yet: boot one, make the file anew, and arm the master then.\n",
        );
    });

  endpoint
    .command("keepalived")
    .description("print keepalived.conf for one of the machines with haproxy")
    .requiredOption("--interface <device>", "network device of that machine")
    .option(
      "--virtual-address <address>",
      "the endpoint's address, with the length of its network's prefix; default: the endpoint, where it is an address",
    )
    .option("--address <address>", "of the machine that the file is for; with --peers")
    .option("--peers <addresses>", "of the other machines, with commas; default: a multicast group")
    .option("--priority <number>", "1 to 254: the highest that works has the address; default: 100")
    .option("--router-id <number>", "1 to 255: no other VRRP of that network may have it; default: 51")
    .option(
      "--authority-file <path>",
      "the cluster's authority on that machine; default: /etc/haproxy/kubernetes-ca.crt",
    )
    .addHelpText(
      "after",
      "\nExample:\n  boot cluster endpoint keepalived --interface eth0 --virtual-address 10.0.0.9/24 \\\n    --address 10.0.0.11 --peers 10.0.0.12 --priority 150     on the first of two",
    )
    .action((options: Record<string, string>) => print("keepalived", options));

  endpoint
    .command("authority")
    .description("print the certificate of the cluster's authority; no secret")
    .addHelpText("after", "\nExample:\n  boot cluster endpoint authority > /etc/haproxy/kubernetes-ca.crt")
    .action(() => print("authority"));
}
