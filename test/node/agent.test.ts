import { statSync } from "node:fs";
import { readFile } from "node:fs/promises";
import t, { type Test } from "tap";
import { agentPart } from "../../server/node/agent.ts";
import { familyTable } from "../../server/node/families.ts";
import { nodeTree } from "../../server/node/node-tree.ts";
import { runtimeSocket } from "../../server/node/runtime.ts";
import { allSamples, sampleServer } from "../support/node-samples.ts";
import {
  agentMachine,
  agentServer,
  commandLines,
  loopbackServer,
  sampleClaim,
  watched,
} from "../support/agent-lab.ts";

const agentScript = "exec /usr/local/libexec/u7s/agent.sh";
const join = (sequence: number, ...more: string[]) => ({
  sequence,
  lines: ["operation=join", "deadline=600", ...more],
  files: [
    { name: "files/etc/kubernetes/rollcall/kubeadm.yaml", mode: 0o600, content: `token: ${token}\n` },
    { name: "files/etc/kubernetes/pki/ca.crt", mode: 0o644, content: "authority\n" },
  ],
});
const token = "abcdef.0123456789abcdef";
const secretKey = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIKsecretsecret\n-----END EC PRIVATE KEY-----";

async function lab(t: Test, shell: "dash" | "busybox" = "dash") {
  const certificates = await loopbackServer(Date.now());
  const server = await agentServer(t, certificates);
  const machine = await agentMachine(t, { url: server.url, authority: certificates.authority }, shell);
  const start = (environment = "") => watched(t, machine.command(agentScript, environment));
  return { server, machine, start, certificates };
}
const reportOf =
  (sequence: number) =>
  ({ path, query }: { path: string; query: URLSearchParams }) =>
    path === "/node/report" && query.get("sequence") === String(sequence);
const kubeadmCalls = (calls: readonly string[]) => calls.filter((call) => call.startsWith("kubeadm"));

for (const shell of ["dash", "busybox"] as const)
  t.test(`a claim, a join with its files, and ready: ${shell}`, async (t) => {
    const { server, machine, start } = await lab(t, shell);
    const seen = new Set<string>();
    server.answerBy((request, response) => {
      for (const line of commandLines()) seen.add(line);
      if (request.path !== "/node/instruction" || server.requests.length > 2) return undefined;
      response.writeHead(204).end();
      return "answered";
    });
    const agent = start();
    await server.until(({ path, query }) => path === "/node/instruction" && query.get("done") === "0");
    server.instruct(join(1, "arguments=--ignore-preflight-errors=Swap,NumCPU --v=1"));
    await server.until(reportOf(1));
    server.instruct({ sequence: 2, lines: ["operation=ready", "message=all is well"] });
    await server.until(reportOf(2));
    await agent.kill();

    const [claim] = server.requests;
    t.equal(claim?.path, `/callback/${sampleClaim}/join`);
    const fields = Object.fromEntries(new URLSearchParams(claim?.body));
    t.match(fields, {
      csr: /^-----BEGIN CERTIFICATE REQUEST-----\n/,
      bootId: /^[0-9a-f-]{36}$/,
      uuid: "4c4c4544-0035-3510-8052-b4c04f4a3732",
      mac: "52:54:00:ab:34:56",
      memoryKiB: /^[1-9][0-9]+$/,
      processors: /^[1-9]/,
      kernel: /^[0-9]+\./,
      controllers: "cpu io memory pids",
      subuids: "65536",
      runtime: "containerd",
    });
    t.same(
      server.requests.slice(1).map(({ client }) => client),
      server.requests.slice(1).map(() => "b_1"),
      "each later request shows the certificate of the claim",
    );
    const polls = server.requests.filter(({ path }) => path === "/node/instruction");
    t.same([...new Set(polls.map(({ query }) => query.get("done")))].slice(0, 2), ["0", "1"]);
    t.ok(
      polls.filter(({ query }) => query.get("done") === "0").length >= 2,
      "204 is followed by another poll",
    );
    t.equal(polls[0]?.query.get("wait"), "1", "as long as the server says");
    t.same(
      server.reports().map(({ told }) => told),
      ["1 0 kubeadm", "2 0 ready"],
    );
    t.same(kubeadmCalls(machine.calls()), [
      "kubeadm join --config /etc/kubernetes/rollcall/kubeadm.yaml --ignore-preflight-errors=Swap,NumCPU --v=1",
    ]);
    t.equal(machine.read("etc/kubernetes/rollcall/kubeadm.yaml"), `token: ${token}\n`);
    t.equal(statSync(machine.path("etc/kubernetes/rollcall/kubeadm.yaml")).mode & 0o777, 0o600);
    t.equal(statSync(machine.path("etc/kubernetes/pki/ca.crt")).mode & 0o777, 0o644);
    t.equal(statSync(machine.path("run/rollcall/agent")).mode & 0o777, 0o700);
    t.equal(statSync(machine.path("run/rollcall/agent/agent.key")).mode & 0o777, 0o600);
    t.equal(statSync(machine.path("run/rollcall/ready")).mode & 0o777, 0o644);
    t.ok(machine.calls().includes("systemctl start --no-block rollcall-nodeports.service"));
    t.match(agent.said(), /^rollcall: joining the cluster \(kubeadm join\), 10 min at most$/m);
    t.match(agent.said(), /^rollcall: all is well$/m);
    t.match(agent.said(), /^rollcall: this machine is a node of the cluster, and ready$/m);
    const told = [...seen, ...machine.calls(), agent.said()].join("\n");
    for (const secret of [sampleClaim, token, "CERTIFICATE REQUEST"])
      t.notOk(told.includes(secret), "no secret on a command line or on the console");
    t.ok(
      [...seen].some((line) => line.startsWith("curl ")),
      "and the command lines of curl were looked at",
    );
  });

t.test(
  "what was done is not done twice, whatever gets lost: answers of the claim, instructions and reports",
  async (t) => {
    const { server, machine, start } = await lab(t);
    const dropped = new Map<string, number>();
    server.answerBy(({ path }, response) => {
      const before = dropped.get(path) ?? 0;
      dropped.set(path, before + 1);
      if (before === 0) {
        response.destroy();
        return "answered";
      }
      if (before === 1) {
        response.writeHead(503).end('{"detail":"the disk is slow"}');
        return "answered";
      }
      return undefined;
    });
    server.instruct(join(1));
    const agent = start();
    await server.until(({ path, query }) => path === "/node/instruction" && query.get("done") === "1");
    t.equal(server.requests.filter(({ path }) => path.endsWith("/join")).length, 3);
    t.equal(
      new Set(
        server.requests
          .filter(({ path }) => path.endsWith("/join"))
          .map(({ body }) => new URLSearchParams(body).get("csr")),
      ).size,
      1,
      "with the same key",
    );
    t.equal(server.reports().length, 3);
    t.equal(kubeadmCalls(machine.calls()).length, 1);
    t.match(agent.said(), /the server does not take the claim: no answer \(curl 52\)/);
    t.match(agent.said(), /the server gives no instruction: HTTP 503 the disk is slow/);
    t.match(agent.said(), /the server answers again/);
    await agent.kill();

    // A server that knows nothing of the report says the same again, to an agent that is new.
    machine.write("run/rollcall/agent/done", "0\n");
    const count = server.requests.length;
    const other = start();
    await server.until((request) => server.requests.indexOf(request) > count && reportOf(1)(request));
    await other.kill();
    t.equal(kubeadmCalls(machine.calls()).length, 1, "reported again, not run again");
    t.equal(
      server.requests.filter(({ path }) => path.endsWith("/join")).length,
      3,
      "it keeps its certificate",
    );
  },
);

for (const [step, status] of [
  ["join", 403],
  ["join", 404],
] as const)
  t.test(`${status} for ${step} ends the agent, and its unit stays ended`, async (t) => {
    const { server, machine, start } = await lab(t);
    server.answerBy(({ path }, response) => {
      if (!path.endsWith(step)) return undefined;
      response.writeHead(status).end('{"code":"CLAIM_REFUSED","detail":"another key \u001b[2J has it"}');
      return "answered";
    });
    server.instruct({ sequence: 1, lines: ["operation=network"] });
    const agent = start();
    const code = await agent.ended;
    t.equal(code, 77);
    t.match(agent.said(), new RegExp(`HTTP ${status} another key .*has it`));
    t.notMatch(agent.said(), "\u001b");
    t.match(agent.said(), /the agent ends here/);
    t.match(machine.read("etc/systemd/system/rollcall-agent.service"), /^RestartPreventExitStatus=77$/m);
  });

const refusal = '{"code":"CLAIM_REFUSED","detail":"this claim is not valid here"}';
for (const step of ["instruction", "report"] as const) {
  t.test(`401 for ${step} is told once and may pass: the agent asks again, and claims nothing`, async (t) => {
    const { server, start } = await lab(t);
    let refused = 0;
    server.answerBy(({ path }, response) => {
      if (!path.endsWith(step) || ++refused > 3) return undefined;
      response.writeHead(401).end('{"detail":"no certificate"}');
      return "answered";
    });
    server.instruct({ sequence: 1, lines: ["operation=network"] });
    const agent = start();
    await server.until(({ query }) => query.get("done") === "1");
    await agent.kill();
    t.equal(server.requests.filter(({ path }) => path.endsWith("/join")).length, 1);
    t.equal(agent.said().match(/does not know this machine now/g)?.length, 1);
    t.match(agent.said(), /the server answers again/);
    t.equal(server.reports().at(-1)?.told, "1 0 network");
  });

  t.test(`403 for ${step}: the agent claims anew with its key, and goes on where it was`, async (t) => {
    const { server, machine, start } = await lab(t);
    let refused = 0;
    server.answerBy(({ path }, response) => {
      if (!path.endsWith(step) || ++refused > 1) return undefined;
      response.writeHead(403).end(refusal);
      return "answered";
    });
    server.instruct(join(1));
    const agent = start();
    await server.until(({ query }) => query.get("done") === "1");
    await agent.kill();
    const claims = server.requests.filter(({ path }) => path.endsWith("/join"));
    t.equal(claims.length, 2);
    t.equal(new Set(claims.map(({ body }) => new URLSearchParams(body).get("csr"))).size, 1);
    t.equal(kubeadmCalls(machine.calls()).length, 1);
  });

  t.test(`403 for ${step}, and for the claim too: this boot is over, and the agent ends`, async (t) => {
    const { server, start } = await lab(t);
    let claims = 0;
    server.answerBy(({ path }, response) => {
      if (!path.endsWith(step) && !(path.endsWith("/join") && ++claims > 1)) return undefined;
      response.writeHead(403).end(refusal);
      return "answered";
    });
    server.instruct({ sequence: 1, lines: ["operation=network"] });
    const agent = start();
    t.equal(await agent.ended, 77);
    t.equal(claims, 2, "it asked once");
    t.match(agent.said(), /the server refuses this machine: HTTP 403 this claim is not valid here/);
  });
}

t.test("while kubeadm runs the agent gives a sign of life, and takes nothing new", async (t) => {
  const { server, machine, start } = await lab(t);
  await watched(t, machine.command("mkfifo /tmp/gate")).ended;
  machine.write("tmp/kubeadm-does", "read -r _ </tmp/gate\n");
  server.instruct(join(1));
  const agent = start();
  await server.untilHeartbeats(2);
  t.same(server.reports(), []);
  t.match(server.heartbeats[0], { path: "/node/instruction", client: "b_1" });
  t.equal(server.heartbeats[0]?.query.get("done"), "1", "as if it were done: it asks for nothing");
  machine.write("tmp/gate", "go on\n");
  await server.until(({ query }) => query.get("done") === "1");
  await agent.kill();
  t.equal(server.reports()[0]?.told, "1 0 kubeadm");
});

t.test(
  "a failing kubeadm is reported with the end of its log and its phase, without secrets; the next try cleans up first",
  async (t) => {
    const { server, machine, start } = await lab(t);
    const hash = `sha256:${"ab".repeat(32)}`;
    const lines = [
      `using token ${token} and ${token}`,
      secretKey,
      `one line: ${secretKey.replaceAll("\n", "\\n")} of a key`,
      `key ${"0f".repeat(32)}`,
      `hash ${hash}`,
      `bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl`,
      `client-key-data: ${"QUJD".repeat(30)}`,
      `http://10.0.0.2/callback/${sampleClaim}/log`,
      "a bell \u0007 and a colour \u001b[31m",
      "error execution phase preflight: some fatal errors occurred",
      "To see the stack trace of this error execute with --v=5 or higher",
    ];
    machine.write("tmp/log", `${"x".repeat(99)}\n`.repeat(200) + lines.join("\n") + "\n");
    machine.write("tmp/kubeadm-does", "[ $1 = reset ] || { cat /tmp/log; exit 3; }\n");
    server.instruct(join(1));
    const agent = start();
    await server.until(reportOf(1));
    machine.write(
      "tmp/kubeadm-does",
      "[ $1 = reset ] || test -e /etc/kubernetes/pki/ca.crt || exit 4; rm -r /etc/kubernetes/pki\n",
    );
    server.instruct({ ...join(2), lines: ["operation=init", "deadline=60"] });
    await server.until(reportOf(2));
    await agent.kill();
    const [failed, done] = server.reports();
    t.equal(failed?.told, "1 3 preflight");
    t.equal(done?.told, "2 0 kubeadm");
    const body = failed?.body ?? "";
    t.ok(body.length <= 8192 && body.length > 8000, `${body.length} octets`);
    t.match(body, /some fatal errors/);
    t.match(body, hash, "a digest is no secret");
    for (const secret of [
      token,
      "secretsecret",
      "BEGIN",
      "0f0f0f",
      "eyJ",
      "QUJDQUJD",
      sampleClaim,
      "\u0007",
      "\u001b",
    ])
      t.notOk(body.includes(secret), `${secret} is not in the report`);
    t.equal(body.match(/\[a token\]/g)?.length, 3);
    t.equal(body.match(/\[a private key\]/g)?.length, 2);
    t.match(agent.said(), /^rollcall: join failed \(3, preflight\): To see the stack trace/m);
    t.match(agent.said(), /^rollcall: making the cluster \(kubeadm init\), 60 s at most$/m);
    t.same(
      kubeadmCalls(machine.calls()).map((call) => call.split(" ").slice(0, 2).join(" ")),
      ["kubeadm join", "kubeadm reset", "kubeadm init"],
    );
    t.ok(
      kubeadmCalls(machine.calls()).includes(
        "kubeadm reset -f --cri-socket=unix:///run/containerd/containerd.sock",
      ),
    );
  },
);

t.test("an agent that is killed while kubeadm runs starts anew, cleans up and does it again", async (t) => {
  const { server, machine, start } = await lab(t);
  await watched(t, machine.command("mkfifo /tmp/begun /tmp/gate")).ended;
  machine.write("tmp/kubeadm-does", "[ $1 = reset ] || { echo begun >/tmp/begun; read -r _ </tmp/gate; }\n");
  server.instruct(join(1));
  const first = start();
  await readFile(machine.path("tmp/begun"));
  const killed = first.kill();
  machine.write("tmp/gate", "go on\n");
  await killed;
  machine.write("tmp/kubeadm-does", "");
  const second = start();
  await server.until(reportOf(1));
  await second.kill();
  t.same(
    server.reports().map(({ told }) => told),
    ["1 0 kubeadm"],
  );
  t.same(
    kubeadmCalls(machine.calls()).map((call) => call.split(" ")[1]),
    ["join", "reset", "join"],
  );
  t.equal(server.requests.filter(({ path }) => path.endsWith("/join")).length, 1, "one claim");
});

t.test("kubeadm gets no longer than the instruction says", async (t) => {
  const { server, machine, start } = await lab(t);
  machine.write("tmp/kubeadm-does", "exec sleep 1000\n");
  server.instruct({ ...join(1), lines: ["operation=join", "deadline=1"] });
  const agent = start();
  await server.until(reportOf(1));
  await agent.kill();
  t.equal(server.reports()[0]?.told, "1 124 kubeadm");
});

t.test("a join that brings the network of pods makes it before kubeadm runs", async (t) => {
  const { server, machine, start } = await lab(t);
  const script = {
    name: "files/etc/rollcall/network.sh",
    mode: 0o755,
    content: "echo network >>/tmp/calls\n",
  };
  const { files, ...rest } = join(1);
  server.instruct({ ...rest, files: [...files, script] });
  start();
  await server.until(reportOf(1));
  t.same(
    machine.calls().filter((line) => line === "network" || line.startsWith("kubeadm ")),
    ["network", ...kubeadmCalls(machine.calls())],
  );
  t.equal(kubeadmCalls(machine.calls()).length, 1);
});

t.test(
  "wait tells its message once a change, network runs what it brings, reset and reboot act, what is unknown is 64",
  async (t) => {
    const { server, machine, start } = await lab(t);
    const script = {
      name: "files/etc/rollcall/network.sh",
      mode: 0o755,
      content: "echo network >>/tmp/calls\n",
    };
    server.instruct(
      { sequence: 1, lines: ["operation=wait", "message=the code is 123456 \u001b[2J\u0007"] },
      { sequence: 2, lines: ["operation=wait", "message=the code is 123456 \u001b[2J\u0007"] },
      { sequence: 3, lines: ["operation=network"], files: [script] },
      { sequence: 4, lines: ["operation=network"] },
      { sequence: 5, lines: ["operation=dance"] },
      { sequence: 6, lines: ["operation=join", "arguments=--config=$(id)"] },
      { sequence: 7, lines: ["operation=reset"] },
      { sequence: 8, lines: ["operation=reboot"] },
      { sequence: 9, lines: ["operation=none"] },
    );
    const agent = start();
    await server.until(({ query }) => query.get("done") === "9");
    await agent.kill();
    t.equal(agent.said().match(/^rollcall: the code is 123456 \[2J$/gm)?.length, 1);
    t.notMatch(agent.said(), "\u001b");
    t.same(
      server.reports().map(({ told }) => told),
      ["3 0 network", "4 0 network", "5 64 unknown", "6 64 unknown", "7 0 reset", "8 0 reboot"],
    );
    t.same(
      machine.calls().filter((call) => !call.startsWith("runuser")),
      [
        "systemctl --user is-active --quiet rootlesskit.service",
        "network",
        "systemctl stop rollcall-nodeports.service",
        "kubeadm reset -f --cri-socket=unix:///run/containerd/containerd.sock",
        "systemctl --user stop kubelet.service",
        "systemctl reboot",
      ],
    );
  },
);

t.test(
  "a server with another authority's certificate is not spoken to, even one that the system trusts",
  async (t) => {
    const { server, machine, start, certificates } = await lab(t);
    const stranger = await loopbackServer(Date.now(), "some-authority");
    const impostor = await agentServer(t, stranger);
    // The system's own authorities: the stranger is one of them.
    machine.write("tmp/stranger.pem", stranger.authority.certificatePem);
    const trust = watched(
      t,
      machine.command(
        "cp /tmp/stranger.pem /etc/ssl/certs/$(openssl x509 -hash -noout -in /tmp/stranger.pem).0; cat /tmp/stranger.pem >>/etc/ssl/certs/ca-certificates.crt; curl -sS " +
          impostor.url,
      ),
    );
    t.equal(await trust.ended, 0, `the system trusts it: ${trust.said()}`);
    const count = impostor.requests.length;
    const agent = start(`ROLLCALL_URL=${impostor.url}`);
    await agent.until(/no trust: .*curl 60/);
    await agent.kill();
    t.equal(impostor.requests.filter(({ method }) => method !== "HEAD").length, count, "it got nothing");
    t.equal(server.requests.length, 0);
    t.ok(certificates);
  },
);

t.test(
  "a clock that is before all certificates is set to the server's, once; another one is left alone",
  async (t) => {
    const future = Date.now() + 10 * 86_400_000;
    const certificates = await loopbackServer(future);
    const server = await agentServer(t, certificates);
    const machine = await agentMachine(t, { url: server.url, authority: certificates.authority });
    server.answerBy((_, response) => {
      response.setHeader("Date", new Date(future).toUTCString());
      return undefined;
    });
    const agent = watched(t, machine.command(agentScript));
    await agent.until(/seconds apart/);
    await agent.kill();
    t.match(agent.said(), /it is set to the server's time/);
    t.same(
      machine.calls().filter((call) => call.startsWith("date")),
      [`date -u -s @${Math.floor(future / 1000)}`],
    );
  },
);

t.test("without a namespace, a claim or a plain address there is no agent", async (t) => {
  const certificates = await loopbackServer(Date.now());
  const server = await agentServer(t, certificates);
  const place = { url: server.url, authority: certificates.authority };
  const machine = await agentMachine(t, place, "dash", "quiet rollcall.callback=http://10.0.0.2/other/x");
  const unclaimed = watched(t, machine.command(agentScript));
  t.equal(await unclaimed.ended, 77);
  t.match(unclaimed.said(), /this boot has no claim/);
  machine.write("stubs/systemctl", "#!/bin/sh\nexit 3\n");
  const unready = watched(t, machine.command(agentScript));
  t.equal(await unready.ended, 1, "systemd starts it again");
  t.match(unready.said(), /waiting for the user namespace/);
  machine.write("stubs/systemctl", "#!/bin/sh\n");
  machine.write("etc/rollcall/callback", `http://10.0.0.2:8080/callback/${sampleClaim}\n`);
  const claimed = watched(t, machine.command(agentScript));
  const request = await server.until(({ path }) => path === `/callback/${sampleClaim}/join`);
  t.match(new URLSearchParams(request.body).get("mac"), /^$|^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  await claimed.kill();
});

t.test("the agent is in each family's node, in its own places, with nothing secret", (t) => {
  for (const { name, spec } of allSamples()) {
    const { programs, configuration } = familyTable[spec.family];
    const { files, links } = nodeTree(spec);
    const text = (path: string) => files.find((file) => file.path === path)?.text;
    for (const script of ["agent.sh", "unpack.sh", "nodeports.sh"])
      t.equal(files.find(({ path }) => path === `${programs}/${script}`)?.mode, 0o755, `${name}: ${script}`);
    t.match(
      text(`${configuration}/agent.env`),
      `ROLLCALL_AUTHORITY="${configuration}/agent-authority.pem"\n`,
    );
    t.match(text(`${configuration}/agent.env`), `ROLLCALL_CRI_SOCKET="${runtimeSocket(spec.family)}"\n`);
    t.equal(text(`${configuration}/agent-authority.pem`), sampleServer.authorityPem);
    const unit = text("/etc/systemd/system/rollcall-agent.service");
    t.match(unit, `ExecStart=${programs}/agent.sh\n`);
    t.match(unit, /^After=network-online\.target u7s-prepare\.service user@771\.service$/m);
    t.match(unit, /^StandardOutput=journal\+console$/m);
    t.match(text(`${configuration}/env`), /^U7S_SYSTEM_UNITS=".*rollcall-agent\.service"$/m);
    const wanted = links.map(({ path }) => path).filter((path) => path.includes("rollcall-"));
    t.same(
      wanted,
      ["/etc/systemd/system/multi-user.target.wants/rollcall-agent.service"],
      "the other one waits",
    );
  }
  t.end();
});

t.test("an address or a certificate of another form makes no agent", (t) => {
  for (const httpsUrl of [
    "http://10.0.0.2",
    "https://10.0.0.2/",
    'https://a"b',
    "https://$(id)",
    "https://a:1:2",
    "",
  ])
    t.throws(() => agentPart("debian", { ...sampleServer, httpsUrl }), /no plain address/, httpsUrl);
  for (const authorityPem of [
    "",
    "x",
    `${sampleServer.authorityPem}x`,
    secretKey,
    sampleServer.authorityPem.trim(),
  ])
    t.throws(() => agentPart("debian", { ...sampleServer, authorityPem }), /no certificate/);
  t.end();
});

t.test("an instruction's files are plain files with plain names, or nothing of it is written", async (t) => {
  const { machine } = await lab(t);
  const unpack = async (made: string) => {
    const child = watched(
      t,
      machine.command(
        `cd /tmp; rm -rf work; mkdir work; cd work; ${made}; /usr/local/libexec/u7s/unpack.sh <a.tar`,
      ),
    );
    return { code: await child.ended, said: child.said() };
  };
  const refused: Readonly<Record<string, string>> = {
    "a way out": "mkdir -p files/x; echo 1 >evil; tar -cPf a.tar files/x/../../evil",
    "an absolute name": "echo 1 >/tmp/evil; tar -cPf a.tar /tmp/evil",
    "a link": "mkdir files; ln -s /etc/shadow files/link; tar -cf a.tar files/link",
    "a hard link": "mkdir files; echo 1 >files/a; ln files/a files/b; tar -cf a.tar files/a files/b",
    "a device": "mkdir files; mknod files/null c 1 3; tar -cf a.tar files/null",
    "a blank": "mkdir files; echo 1 >'files/a b'; tar -cf a.tar 'files/a b'",
    "a member of its own": "echo 1 >other; tar -cf a.tar other",
    "no archive": "echo nothing at all >a.tar",
  };
  for (const [name, made] of Object.entries(refused)) {
    const { code, said } = await unpack(made);
    t.not(code, 0, `${name}: ${said}`);
  }
  t.equal(
    machine.read("evil") ?? machine.read("link") ?? machine.read("null") ?? machine.read("b"),
    undefined,
  );
  const { code, said } = await unpack(
    "mkdir -p files/etc/.ro1 /etc/.ro1/there; echo old >/etc/.ro1/there/kept; ln -s .ro1/there /etc/there; mkdir -p files/etc/there; echo new >files/etc/there/new; tar -cf a.tar files/etc/there/new",
  );
  t.equal(code, 0, said);
  t.equal(machine.read("etc/there/new"), "new\n");
  const kept = watched(t, machine.command("cat /etc/there/kept"));
  await kept.ended;
  t.equal(kept.said(), "old\n", "a copied directory keeps what it had");
  t.equal(machine.read("etc/.ro1/there/new"), undefined, "and what it was copied from stays as it was");
});
