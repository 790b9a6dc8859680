import { spawn } from "node:child_process";
import { join } from "node:path";
import t from "tap";
import { boot, launcher } from "./support/boot-command.ts";
import { writeFiles } from "./support/boot-lab.ts";
import { temporaryDirectory } from "./support/samples.ts";

const config = (more = "") => `
interfaces: [lo]
dhcp: { mode: "off" }
tftp: { port: 0 }
http: { port: 0 }
https: { port: 0 }
registry: { port: 0, tlsPort: 0, host: images.lab }
lookaside: { port: 0 }
${more}`;

t.test("the first lines of a server say where its registry and its lookaside are", async (t) => {
  const directory = temporaryDirectory(t);
  writeFiles(directory, { "rollcall.yaml": config() });
  const words = ["serve", "--config", join(directory, "rollcall.yaml"), "--data", join(directory, "data")];
  const server = spawn(process.execPath, [launcher, ...words], { env: { PATH: process.env["PATH"] } });
  const ended = new Promise<void>((done) => server.once("exit", () => done()));
  t.teardown(() => {
    server.kill();
    return ended;
  });
  let said = "";
  for await (const chunk of server.stdout) {
    said += String(chunk);
    if (said.includes("Try: ")) break;
  }
  t.match(
    said,
    /^ {2}Registry images\.lab at 127\.0\.0\.1:[1-9]\d+, over TLS at 127\.0\.0\.1:[1-9]\d+; lookaside of signatures at 127\.0\.0\.1:[1-9]\d+$/m,
  );
});

t.test("a network of the cluster that holds the server's own address is refused at the start", async (t) => {
  const cluster = "cluster: { kubernetesVersion: 1.31.0, etcd: stacked, serviceSubnet: 127.0.0.0/12 }\n";
  const directory = temporaryDirectory(t);
  writeFiles(directory, { "rollcall.yaml": config(cluster) });
  const file = join(directory, "rollcall.yaml");
  const told =
    /^CONFIG_INVALID: .*rollcall\.yaml:\d+: cluster\.serviceSubnet: 127\.0\.0\.0\/12 holds this server's own address 127\.0\.0\.1: /m;
  t.match(await boot(["serve", "--config", file, "--data", join(directory, "data")]), { code: 2, err: told });
  t.match(await boot(["config", "check", file]), { code: 2, err: told });
});
