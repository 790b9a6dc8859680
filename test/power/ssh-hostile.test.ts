import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { makeKey } from "../../server/power/own-key.ts";
import { createSsh, type SshTarget } from "../../server/power/ssh.ts";
import { temporaryDirectory } from "../support/samples.ts";
import {
  type Impostor,
  type ImpostorPlay,
  listening,
  rawOf,
  startSshImpostor,
} from "../support/ssh-impostor.ts";

const endless = new AbortController().signal;
const ourKey = makeKey();

/** Nothing here hangs on time but what says so. */
const patient = (limits: { readonly limitMs?: number; readonly loginLimitMs?: number } = {}) =>
  createSsh({
    clock: systemClock,
    key: { privateKey: () => Promise.resolve(ourKey.privateKey) },
    limitMs: 60_000,
    loginLimitMs: 60_000,
    receivedBytes: 64 * 1024,
    ...limits,
  });
const targetOf = ({ port, hostKey }: Pick<Impostor, "port" | "hostKey">): SshTarget => ({
  machine: "s4",
  address: "127.0.0.1",
  port,
  user: "root",
  hostKey,
});

async function playing(t: Test, play: ImpostorPlay = {}) {
  const host = await startSshImpostor(t, play);
  return { host, target: targetOf(host) };
}

t.test("wherever the connection ends, an order is done only where the machine was given it", async (t) => {
  let left = Infinity;
  let sent = 0;
  const { host, target } = await playing(t, {
    maySend: () => {
      sent += 1;
      return left-- > 0;
    },
  });
  const ssh = patient();
  t.equal(await ssh(target, "reboot", endless), "done");
  const whole = sent;
  const outcomes = new Set<string>();
  // Prime, so that it falls on other places of the packets each time.
  for (let cut = 0; cut < whole; cut += 41) {
    host.commands.length = 0;
    left = cut;
    const outcome = await ssh(target, "reboot", endless).catch((error: { code: string }) => error.code);
    outcomes.add(outcome);
    if (outcome === "done") t.strictSame(host.commands, ["systemctl reboot"], `cut after ${cut} octets`);
    host.commands.length = 0;
    left = cut;
    const state = await ssh(target, "status", endless).catch((error: { code: string }) => error.code);
    outcomes.add(state);
    // The exit status may have come before the end.
    if (state === "done") t.strictSame(host.commands, ["systemctl is-system-running"]);
  }
  t.strictSame([...outcomes].toSorted(), ["MACHINE_UNREACHABLE", "done"]);
  await host.alone();
});

t.test("a host that speaks without end is left, and what it said is not kept", async (t) => {
  const flood = (line: string) =>
    listening(t, (socket) => {
      const more = (): void => {
        while (!socket.destroyed && socket.write(line.repeat(100)));
      };
      socket.on("drain", more);
      more();
    });
  for (const line of ["Welcome!\r\n", "x".repeat(100)]) {
    const { port } = await flood(line);
    await t.rejects(patient()({ ...targetOf({ port, hostKey: ourKey.publicKey }) }, "reboot", endless), {
      code: "MACHINE_UNREACHABLE",
      message: /greeting lines exceeded|line too long/,
    });
  }
  for (const name of ["stdout", "stderr"] as const) {
    const { host, target } = await playing(t, {
      onCommand: (channel) => {
        const output = name === "stdout" ? channel : channel.stderr;
        const more = (): void => {
          while (!channel.destroyed && host.open() > 0 && output.write("y\n".repeat(8000)));
        };
        output.on("drain", more);
        more();
      },
    });
    await t.rejects(patient()(target, "reboot", endless), {
      code: "SSH_REFUSED",
      message: /sent more than 64 KiB/,
    });
    await host.alone();
  }
  const { target } = await playing(t, {
    onAuthentication: (_, client) => {
      for (let count = 0; count < 2000; count++) rawOf(client).ping();
    },
  });
  await t.rejects(patient()(target, "reboot", endless), {
    code: "SSH_REFUSED",
    message: /sent more than 64 KiB/,
  });
});

t.test("a host that is slow, asks, or waits is waited for as long as a login may take", async (t) => {
  const ssh = patient({ loginLimitMs: 250 });
  const never: ImpostorPlay["onAuthentication"][] = [
    () => undefined,
    (_, client) => rawOf(client).authInfoReq("Login", "", [{ prompt: "Password: ", echo: false }]),
    (attempt, client) => {
      if (attempt.method === "publickey") rawOf(client).authInfoReq("", "", []);
    },
  ];
  const ports = [];
  for (const onAuthentication of never)
    if (onAuthentication) ports.push((await playing(t, { onAuthentication })).target);
  const drip = await listening(t, (socket) => {
    const cancel = [...Array(200).keys()].map((at) =>
      systemClock.after(at * 20, () => void socket.write("S")),
    );
    socket.once("close", () => {
      for (const one of cancel) one();
    });
  });
  ports.push(targetOf({ port: drip.port, hostKey: ourKey.publicKey }));
  await Promise.all(
    ports.map((target) =>
      t.rejects(ssh(target, "reboot", endless), {
        code: "MACHINE_UNREACHABLE",
        message: /Timed out while waiting for handshake/,
      }),
    ),
  );
  await drip.alone();
});

t.test("only our key is shown, whatever a host would rather have", async (t) => {
  const methods: string[] = [];
  const { host, target } = await playing(t, {
    onAuthentication: (attempt) => {
      methods.push(attempt.method);
      attempt.reject(["password", "keyboard-interactive", "hostbased", "none"], true);
    },
  });
  await t.rejects(patient()(target, "reboot", endless), {
    code: "SSH_REFUSED",
    message: /Permission denied/,
  });
  t.strictSame(methods, ["publickey"]);
  t.strictSame(host.commands, []);
});

t.test("a host without the pinned key gets no order, whatever it shows instead", async (t) => {
  const { hostKey, port } = await startSshImpostor(t);
  const rsa = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
  });
  const ecdsa = generateKeyPairSync("ec", {
    namedCurve: "P-256",
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "sec1", format: "pem" },
  });
  const hosts = { rsa: rsa.privateKey, ecdsa: ecdsa.privateKey, copied: withPublicKeyOf(hostKey) };
  for (const [name, key] of Object.entries(hosts)) {
    const { host } = await playing(t, { hostKeys: [key] });
    await t.rejects(
      patient()({ ...targetOf(host), hostKey }, "reboot", endless),
      { code: "HOST_KEY_REFUSED" },
      name,
    );
    t.strictSame(host.commands, [], name);
  }
  t.equal(await patient()(targetOf({ port, hostKey }), "reboot", endless), "done", "the right one does");
});

/** A private key that claims to belong to another's public key: what somebody has who copied that. */
function withPublicKeyOf(hostKey: string): string {
  const pointOf = (line: string) => Buffer.from(line.split(" ")[1] ?? "", "base64").subarray(-32);
  const own = makeKey();
  const octets = Buffer.from(own.privateKey.replaceAll(/-----.*-----|\n/g, ""), "base64");
  const [mine, theirs] = [pointOf(own.publicKey), pointOf(hostKey)];
  for (let at = octets.indexOf(mine); at !== -1; at = octets.indexOf(mine, at + 1)) theirs.copy(octets, at);
  const lines = octets.toString("base64").match(/.{1,70}/g) ?? [];
  const label = "OPENSSH PRIVATE KEY";
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}

t.test("whoever lets us in before it has shown its key gets no order", async (t) => {
  const packet = Buffer.from([0, 0, 0, 12, 10, 52, ...Array<number>(10).fill(0)]);
  let said = Buffer.alloc(0);
  const { port } = await listening(t, (socket) => {
    socket.on("data", (part) => (said = Buffer.concat([said, Buffer.from(part)])));
    socket.write("SSH-2.0-OpenSSH_9.2\r\n");
    socket.write(packet);
  });
  await t.rejects(patient()(targetOf({ port, hostKey: ourKey.publicKey }), "reboot", endless), {
    code: "MACHINE_UNREACHABLE",
  });
  t.notMatch(said.toString("latin1"), "systemctl");
});

t.test("an agent of ours is not asked, and nothing is opened for the host", async (t) => {
  const socket = join(temporaryDirectory(t), "agent");
  const agent = createServer(() => t.fail("the agent was asked"));
  await new Promise<void>((resolve) => agent.listen(socket, resolve));
  t.teardown(() => agent.close());
  const before = process.env["SSH_AUTH_SOCK"];
  process.env["SSH_AUTH_SOCK"] = socket;
  t.teardown(() => {
    if (before === undefined) delete process.env["SSH_AUTH_SOCK"];
    else process.env["SSH_AUTH_SOCK"] = before;
  });
  const refusals: (Error | undefined)[] = [];
  const { target } = await playing(t, {
    onCommand: (channel, client) => {
      client.forwardOut("127.0.0.1", 1, "127.0.0.1", 22, (error) => {
        refusals.push(error);
        client.openssh_forwardOutStreamLocal(socket, (other) => {
          refusals.push(other);
          channel.exit(0);
          channel.end();
        });
      });
    },
  });
  t.equal(await patient()(target, "reboot", endless), "done");
  t.equal(refusals.length, 2);
  for (const refusal of refusals) t.match(refusal, { message: /Channel open failure/ });
});

t.test("an order that is cancelled ends its connection, also while the command runs", async (t) => {
  const order = new AbortController();
  const { host, target } = await playing(t, { onCommand: () => order.abort(new Error("cancelled")) });
  await t.rejects(patient()(target, "reboot", order.signal), { message: "cancelled" });
  await host.alone();
  const { host: slow, target: slowTarget } = await playing(t, { onCommand: () => undefined });
  await t.rejects(patient({ limitMs: 300 })(slowTarget, "reboot", endless), {
    code: "MACHINE_UNREACHABLE",
    message: /no end within 0.3 s/,
  });
  await slow.alone();
});
