import { execFileSync, spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, watch, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import type { Test } from "tap";
import { temporaryDirectory } from "./samples.ts";

/**
 * OpenSSH's server, one process a connection. Nothing that it starts can end this host: it runs in namespaces of its own, with the host's
 * /run and root's home (and what its shell reads there) out of sight, a script of the test in the place of systemctl, and does not start where
 * that could not be arranged.
 */
const start = `
directory=$1
mount -t tmpfs none /run
mount -t tmpfs none ~root
mkdir -m 755 /run/sshd
mount --bind "$directory/systemctl" /usr/bin/systemctl
for place in /bin /usr/bin; do cmp -s "$directory/systemctl" "$place/systemctl"; done
exec /usr/sbin/sshd -i -e -f "$directory/sshd_config"
`;

export interface SshPeer {
  readonly port: number;
  /** As in known_hosts. */
  readonly hostKey: string;
  /** What systemctl was called with, a line each. */
  orders(): string[];
  /** What sshd wrote. */
  log(): string;
}

/**
 * @param systemctl the script in its place, after its words were noted
 * @param goesDown everything there ends without a word the moment systemctl was called
 */
export async function startSshPeer(
  t: Test,
  {
    authorized,
    systemctl = "exit 0",
    goesDown = false,
  }: { readonly authorized: string; readonly systemctl?: string; readonly goesDown?: boolean },
): Promise<SshPeer> {
  const directory = temporaryDirectory(t);
  const file = (name: string) => join(directory, name);
  chmodSync(directory, 0o755);
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file("host")]);
  writeFileSync(file("authorized_keys"), `${authorized}\n`);
  writeFileSync(file("systemctl"), `#!/bin/sh\necho "$*" >> ${file("orders")}\n${systemctl}\n`, {
    mode: 0o755,
  });
  writeFileSync(
    file("sshd_config"),
    [
      `HostKey ${file("host")}`,
      `AuthorizedKeysFile ${file("authorized_keys")}`,
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
      "PermitRootLogin prohibit-password",
      "PidFile none",
      "",
    ].join("\n"),
  );
  let log = "";
  const server = createServer({ pauseOnConnect: true }, (socket) => {
    const child = spawn(
      "unshare",
      [
        "--mount",
        "--propagation",
        "private",
        "--pid",
        "--fork",
        "--kill-child",
        "sh",
        "-euc",
        start,
        "sh",
        directory,
      ],
      { stdio: [socket, socket, "pipe"] },
    );
    child.stderr?.on("data", (text: Buffer) => (log += text.toString()));
    child.once("spawn", () => socket.destroy());
    if (!goesDown) return;
    const watcher = watch(directory, (_, name) => {
      // The shell makes the file first, and writes into it then; the directory may go before the process has ended.
      if (name !== "orders" || !existsSync(file(name)) || !readFileSync(file(name), "utf8").endsWith("\n"))
        return;
      watcher.close();
      child.kill("SIGKILL");
    });
    child.once("exit", () => watcher.close());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => server.close());
  return {
    port: (server.address() as AddressInfo).port,
    hostKey: readFileSync(file("host.pub"), "utf8").split(" ").slice(0, 2).join(" "),
    orders: () => (existsSync(file("orders")) ? readFileSync(file("orders"), "utf8").trim().split("\n") : []),
    log: () => log,
  };
}
