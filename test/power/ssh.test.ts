import { execFileSync, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { authorizedKey, sshCommands } from "../../server/power/authorized-key.ts";
import { makeKey } from "../../server/power/own-key.ts";
import { createSsh, type SshTarget } from "../../server/power/ssh.ts";
import { temporaryDirectory } from "../support/samples.ts";
import { type SshPeer, startSshPeer } from "../support/ssh-peer.ts";

const endless = new AbortController().signal;

interface Play {
  readonly systemctl?: string;
  readonly goesDown?: boolean;
  readonly limitMs?: number;
}

/** On a machine with other work to do; what hangs on a limit says so. */
const patience = { limitMs: 60_000, loginLimitMs: 60_000 };

async function playing(t: Test, { limitMs = patience.limitMs, ...peerOptions }: Play = {}) {
  const key = makeKey();
  const peer: SshPeer = await startSshPeer(t, {
    authorized: authorizedKey(key.publicKey),
    ...peerOptions,
  });
  const ssh = createSsh({
    clock: systemClock,
    key: { privateKey: () => Promise.resolve(key.privateKey) },
    ...patience,
    limitMs,
  });
  const target: SshTarget = {
    machine: "s4",
    address: "127.0.0.1",
    port: peer.port,
    user: "root",
    hostKey: peer.hostKey,
  };
  return { key, peer, ssh, target };
}

t.test("a machine takes the orders to restart and to stop", async (t) => {
  const { peer, ssh, target } = await playing(t);
  t.equal(await ssh(target, "reboot", endless), "done", peer.log());
  t.equal(await ssh(target, "off", endless), "done");
  t.equal(await ssh(target, "status", endless), "done");
  t.strictSame(peer.orders(), ["reboot", "poweroff", "is-system-running"]);
});

t.test("a connection that goes down with the system is an order that was taken", async (t) => {
  const { peer, ssh, target } = await playing(t, { systemctl: "sleep 9", goesDown: true });
  t.equal(await ssh(target, "reboot", endless), "done", peer.log());
  t.strictSame(peer.orders(), ["reboot"]);
});

t.test("a command that is ended by a signal is one too", async (t) => {
  const { ssh, target } = await playing(t, { systemctl: "kill -15 $$" });
  t.equal(await ssh(target, "off", endless), "done");
});

t.test("a system that is not well is still there; one that refuses the order says why", async (t) => {
  const { ssh, target } = await playing(t, {
    systemctl: "echo 'Operation inhibited by a program' >&2; exit 1",
  });
  t.equal(await ssh(target, "status", endless), "failed");
  await t.rejects(ssh(target, "reboot", endless), {
    code: "SSH_REFUSED",
    message: /Operation inhibited by a program/,
  });
});

t.test("whoever has another host key gets no order", async (t) => {
  const { peer, ssh, target } = await playing(t);
  const [type = "", blob = ""] = makeKey().publicKey.split(" ");
  await t.rejects(ssh({ ...target, hostKey: `${type} ${blob}` }, "reboot", endless), {
    code: "HOST_KEY_REFUSED",
    message: /another host key than s4/,
  });
  t.strictSame(peer.orders(), []);
});

t.test("a machine that does not know our key says so", async (t) => {
  const { peer, target } = await playing(t);
  const other = createSsh({
    clock: systemClock,
    key: { privateKey: () => Promise.resolve(makeKey().privateKey) },
    ...patience,
  });
  await t.rejects(other(target, "reboot", endless), { code: "SSH_REFUSED", message: /Permission denied/ });
  t.strictSame(peer.orders(), []);
});

t.test("a host that is not there, one that says nothing, and an order that is cancelled", async (t) => {
  const { ssh, target } = await playing(t);
  const { ssh: impatient } = await playing(t, { limitMs: 400 });
  const silent = createServer((socket) => {
    t.teardown(() => socket.destroy());
  });
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.teardown(() => silent.close());
  const { port } = silent.address() as AddressInfo;
  await t.rejects(impatient({ ...target, port }, "reboot", endless), {
    code: "MACHINE_UNREACHABLE",
    message: /no end within 0.4 s/,
  });
  const closed = createServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const { port: closedPort } = closed.address() as AddressInfo;
  await new Promise((resolve) => closed.close(resolve));
  await t.rejects(ssh({ ...target, port: closedPort }, "reboot", endless), {
    code: "MACHINE_UNREACHABLE",
    message: /connection refused/,
  });
  const order = new AbortController();
  const cancelled = ssh({ ...target, port }, "reboot", order.signal);
  silent.once("connection", () => order.abort(new Error("cancelled")));
  await t.rejects(cancelled, { message: "cancelled" });
});

t.test(
  "the key in authorized_keys opens three commands and no other one, with sudo for whoever is not root",
  (t) => {
    const line = authorizedKey("ssh-ed25519 AAAA rollcall-power");
    const script = /^restrict,command="([^"]*)" ssh-ed25519 AAAA rollcall-power$/.exec(line)?.[1] ?? "";
    t.not(script, "");
    // Every program that it could find is one of these.
    const programs = temporaryDirectory(t);
    for (const name of ["systemctl", "sudo", "id"])
      writeFileSync(
        join(programs, name),
        name === "id" ? "#!/bin/sh\necho $TEST_UID\n" : `#!/bin/sh\necho ${name} "$@"\n`,
        { mode: 0o755 },
      );
    for (const shell of ["/bin/sh", "/bin/bash"]) {
      const play = (command: string | undefined, uid: number) => {
        const { stdout, status } = spawnSync(shell, ["-c", script], {
          encoding: "utf8",
          env: {
            PATH: programs,
            TEST_UID: String(uid),
            ...(command === undefined ? {} : { SSH_ORIGINAL_COMMAND: command }),
          },
        });
        return `${status} ${stdout.trim()}`;
      };
      for (const command of Object.values(sshCommands)) {
        t.equal(play(command, 0), `0 ${command}`);
        t.equal(play(command, 1000), `0 sudo -n ${command}`);
      }
      for (const command of [
        undefined,
        "",
        "systemctl",
        "systemctl halt",
        "systemctl reboot; id",
        "systemctl reboot --force",
        "systemctl reboot\nid",
        "$(id)",
        "sh",
        "*",
      ])
        t.equal(play(command, 0), "126 ", `${shell}: ${JSON.stringify(command)}`);
    }
    t.end();
  },
);

t.test("OpenSSH takes the line as it is", (t) => {
  const file = join(temporaryDirectory(t), "keys");
  writeFileSync(file, `${authorizedKey(makeKey().publicKey)}\n`);
  t.match(execFileSync("ssh-keygen", ["-l", "-f", file], { encoding: "utf8" }), /rollcall-power \(ED25519\)/);
  t.end();
});
