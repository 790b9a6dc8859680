import { EventEmitter, once } from "node:events";
import type { ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { mkdirSync, statSync } from "node:fs";
import t, { type Test } from "tap";
import { formatKubeconfig } from "../../server/kubeadm/kubeconfig.ts";
import { agentMachine, loopbackServer, watched } from "../support/agent-lab.ts";

interface Port {
  readonly nodePort?: number;
  readonly protocol?: string;
}
/** As an API server writes it, with what else can stand in a Service to mislead a reader. */
function serviceList(version: number, services: readonly (readonly Port[])[]): string {
  const items = services.map((ports, index) => ({
    metadata: {
      name: `service-${index}`,
      annotations: {
        nodePort: "31001",
        "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify({
          spec: { ports: [{ nodePort: 31002 }] },
        }),
        braces: '"}]}], "nodePort": 31003 \\" {[',
      },
      managedFields: [{ fieldsV1: { spec: { ports: [{ nodePort: 31004, protocol: "TCP" }] } } }],
      resourceVersion: "7",
    },
    spec: {
      ports: ports.map((port) => ({ name: "nodePort", port: 80, targetPort: "nodePort", ...port })),
      selector: { ports: "31005" },
      healthCheckNodePort: 31006,
    },
    status: { ports: [{ nodePort: 31007 }] },
  }));
  return JSON.stringify(
    { kind: "ServiceList", metadata: { resourceVersion: String(version) }, items },
    undefined,
    2,
  );
}

/** @param identity where kubelet's certificate stands: in a file that it renews, or in its configuration (after kubeadm init) */
async function lab(t: Test, shell: "dash" | "busybox", identity: "file" | "configuration" = "file") {
  const certificates = await loopbackServer(Date.now());
  const events = new EventEmitter();
  const paths: string[] = [];
  const watches: ServerResponse[] = [];
  let answer = "";
  const server = createServer(
    {
      key: certificates.key,
      cert: certificates.cert,
      ca: certificates.authority.certificatePem,
      requestCert: true,
      rejectUnauthorized: true,
    },
    ({ url = "" }, response) => {
      paths.push(url);
      if (!url.includes("watch=")) {
        if (answer === "") response.writeHead(503);
        response.end(answer);
        return;
      }
      watches.push(response.writeHead(200));
      response.flushHeaders();
      events.emit("watch");
    },
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const machine = await agentMachine(t, { url, authority: certificates.authority }, shell);
  for (const directory of ["etc/kubernetes/pki", "var/lib/kubelet/pki"])
    mkdirSync(machine.path(directory), { recursive: true });
  // kubelet writes its configuration without quotes, and the server with them.
  machine.write(
    "etc/kubernetes/kubelet.conf",
    identity === "file"
      ? `clusters:\n- cluster:\n    server: ${url}\n  name: kubernetes\n`
      : formatKubeconfig({
          clusterName: "kubernetes",
          server: url,
          authorityPem: certificates.authority.certificatePem,
          user: {
            name: "system:node:m1",
            certificatePem: certificates.cert,
            privateKeyPem: certificates.key,
          },
        }),
  );
  machine.write("etc/kubernetes/pki/ca.crt", certificates.authority.certificatePem);
  if (identity === "file")
    machine.write("var/lib/kubelet/pki/kubelet-client-current.pem", certificates.cert + certificates.key);
  machine.write("tmp/ports", "1 tcp 0.0.0.0 10250  10250\n2 tcp 0.0.0.0 30999  30999\n");
  return {
    machine,
    paths,
    say(text: string) {
      answer = text;
    },
    /** A change that ends the watch, and the next watch: by then all is as it should be. */
    async change(text: string) {
      answer = text;
      const next = once(events, "watch");
      watches.at(-1)?.write('{"type":"MODIFIED"}\n');
      await next;
    },
    watch: () => once(events, "watch"),
    start: () =>
      watched(
        t,
        machine.command(
          "exec /usr/local/libexec/u7s/nodeports.sh",
          "XDG_RUNTIME_DIR=/run/user ROLLCALL_NODE_PORTS_PAUSE=0",
        ),
      ),
    ports: () =>
      (machine.read("tmp/ports") ?? "")
        .trim()
        .split("\n")
        .map((line) => line.split(/ +/).slice(1, 4).join(" ").replace(" 0.0.0.0 ", "/"))
        .sort(),
  };
}

const others = ["tcp/10250", "tcp/30999"];

for (const shell of ["dash", "busybox"] as const)
  t.test(
    `NodePorts of services come and go, those of others stay, and nothing else passes for one: ${shell}`,
    async (t) => {
      const { machine, paths, say, change, watch, start, ports } = await lab(t, shell);
      const services = [
        [
          { nodePort: 30080, protocol: "TCP" },
          { nodePort: 30053, protocol: "UDP" },
        ],
        [{ nodePort: 30443 }, { protocol: "TCP" }, { nodePort: 30132, protocol: "SCTP" }],
        [
          { nodePort: 22, protocol: "TCP" },
          { nodePort: 30999, protocol: "TCP" },
        ],
      ];
      say(serviceList(41, services));
      const first = watch();
      const one = start();
      await first;
      t.same(ports(), [...others, "tcp/30080", "tcp/30443", "udp/30053"].sort());
      t.match(paths[1], /watch=true.*resourceVersion=41$/);
      await change(serviceList(42, services.slice(0, 1)));
      t.same(
        ports(),
        [...others, "tcp/30080", "udp/30053"].sort(),
        "one service is gone, another's port stays",
      );
      t.match(paths.at(-1), /resourceVersion=42$/);

      // Answers that are none change nothing.
      const good = serviceList(43, []);
      for (const broken of [
        "",
        "{}",
        '{"kind": "Status"}',
        good.slice(0, -20),
        good.replace("ServiceList", "PodList"),
      ]) {
        const count = paths.length;
        const later = change(broken);
        while (paths.length < count + 3) await new Promise(setImmediate);
        t.same(ports(), [...others, "tcp/30080", "udp/30053"].sort(), `after ${broken.slice(0, 20)}`);
        say(serviceList(44, services.slice(0, 1)));
        await later;
      }
      await one.kill();

      // The user namespace was made anew, and its ports are gone.
      machine.write("tmp/ports", "1 tcp 0.0.0.0 10250  10250\n2 tcp 0.0.0.0 30999  30999\n");
      const again = watch();
      const other = start();
      await again;
      t.same(ports(), [...others, "tcp/30080", "udp/30053"].sort());
      await change(serviceList(45, []));
      t.same(ports(), others);
      await other.kill();
      t.match(one.said(), /^published 30080\/tcp$/m);
      t.match(other.said(), /^no longer published: 30080\/tcp$/m);
      t.equal(one.said().match(/does not tell/g)?.length, 5, "a silence is told once");
    },
  );

for (const shell of ["dash", "busybox"] as const)
  t.test(
    `where kubelet's certificate stands in its configuration (after kubeadm init), it is used: ${shell}`,
    async (t) => {
      const { machine, say, watch, start, ports } = await lab(t, shell, "configuration");
      say(serviceList(41, [[{ nodePort: 30080, protocol: "TCP" }]]));
      const first = watch();
      const one = start();
      await first;
      t.same(ports(), [...others, "tcp/30080"].sort());
      await one.kill();
      t.equal(
        statSync(machine.path("run/rollcall-kubelet.pem")).mode & 0o777,
        0o600,
        "and nobody else reads it",
      );
    },
  );
