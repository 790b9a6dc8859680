import type { Clock } from "../domain/capabilities.ts";
import { HostKeyRefused, MachineUnreachable, SshRefused } from "../domain/error-catalogue.ts";
import { sshCommands } from "./authorized-key.ts";
import type { OwnKey } from "./own-key.ts";
import { TimeIsUp, within } from "./pause.ts";
import { lastWord, type ProgramEnd, runProgram } from "./run-program.ts";

export interface SshTarget {
  readonly machine: string;
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** As in known_hosts, without a name. */
  readonly hostKey: string;
}

export interface SshDeps {
  readonly clock: Clock;
  readonly key: Pick<OwnKey, "privateKey">;
  readonly privateDirectory: string;
  /** For connection and command together, ms. */
  readonly limitMs?: number;
}

/** A machine that is there answers in a second; one that is not must not keep a room waiting. */
const usualLimitMs = 15_000;

/** Answers of ssh's end 255, by what it prints (readconf.c, sshconnect.c, clientloop.c of OpenSSH). */
const keyRefused = /Host key verification failed|host key is known|no matching host key type/i;
const loginRefused = /Permission denied|Too many authentication failures|expired/i;
/** Only after the login: the system took the order and the connection went down with it. */
const cutByOrder =
  /^(Connection to \S+ closed by remote host|client_loop: |Timeout, server |Read from remote host )/m;

/**
 * Orders over SSH by OpenSSH's client: one of three fixed commands, to a host with exactly the key that the machine told.
 */
export function createSsh({ clock, key, privateDirectory, limitMs = usualLimitMs }: SshDeps) {
  /** @throws MachineUnreachable, HostKeyRefused, SshRefused, PowerProgramMissing */
  return async (
    target: SshTarget,
    order: keyof typeof sshCommands,
    signal: AbortSignal,
  ): Promise<"done" | "failed"> => {
    const { machine, address } = target;
    const privateFiles = {
      key: await key.privateKey(),
      hosts: `rollcall-machine ${target.hostKey}\n`,
    };
    let end: ProgramEnd;
    try {
      end = await within(clock, limitMs, signal, (signal) =>
        runProgram({
          program: "ssh",
          package: "openssh-client",
          words: (fileOf) => sshWords(target, sshCommands[order], fileOf),
          privateFiles,
          privateDirectory,
          signal,
        }),
      );
    } catch (error) {
      if (error instanceof TimeIsUp) throw MachineUnreachable({ machine, address, reason: error.message });
      throw error;
    }
    return judge(end, target, order);
  };
}
export type Ssh = ReturnType<typeof createSsh>;

function judge(
  { code, stderr }: ProgramEnd,
  { machine, address, user }: SshTarget,
  order: keyof typeof sshCommands,
): "done" | "failed" {
  if (code === 0) return "done";
  const reason = lastWord(stderr, `ssh ended with ${code ?? "a signal"}`);
  // `systemctl is-system-running` fails on a system that is up and not well.
  if (code !== 255) {
    if (order === "status" && code !== 126) return "failed";
    throw SshRefused({
      machine,
      user,
      reason: lastWord(stderr, `its command ended with ${code ?? "a signal"}`),
    });
  }
  if (keyRefused.test(stderr)) throw HostKeyRefused({ machine, address });
  if (loginRefused.test(stderr)) throw SshRefused({ machine, user, reason });
  // Without a word: the command was ended by a signal, as everything is that shuts down.
  if (order !== "status" && (stderr.trim() === "" || cutByOrder.test(stderr))) return "done";
  throw MachineUnreachable({ machine, address, reason });
}

/** No config of this host or user counts, nothing is asked for, nothing else is opened. */
function sshWords(
  { address, port, user }: SshTarget,
  command: string,
  fileOf: (name: string) => string,
): string[] {
  const options = {
    BatchMode: "yes",
    StrictHostKeyChecking: "yes",
    UserKnownHostsFile: fileOf("hosts"),
    GlobalKnownHostsFile: "/dev/null",
    HostKeyAlias: "rollcall-machine",
    HostKeyAlgorithms: "ssh-ed25519",
    UpdateHostKeys: "no",
    CheckHostIP: "no",
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    PreferredAuthentications: "publickey",
    ConnectTimeout: "5",
    ConnectionAttempts: "1",
    ServerAliveInterval: "3",
    ServerAliveCountMax: "2",
    ClearAllForwardings: "yes",
    ForwardAgent: "no",
    PermitLocalCommand: "no",
    ProxyCommand: "none",
    ControlPath: "none",
    LogLevel: "ERROR",
  };
  return [
    "-F",
    "none",
    "-T",
    "-i",
    fileOf("key"),
    "-l",
    user,
    "-p",
    String(port),
    ...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
    "--",
    address,
    command,
  ];
}
