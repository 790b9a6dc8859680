import { connect } from "node:net";
import { getSystemErrorMessage } from "node:util";
import type { Client, ClientChannel } from "ssh2";
import type { DurationMs } from "../domain/capabilities.ts";

export interface SshCall {
  readonly address: string;
  readonly port: number;
  readonly user: string;
  /** As in known_hosts, without a name: the one key that counts. */
  readonly hostKey: string;
  /** In OpenSSH's format. */
  readonly privateKey: string;
  readonly command: string;
  /** From the first packet to the login. */
  readonly loginLimitMs: DurationMs;
  /** What is kept of each of its outputs, octets. */
  readonly keptBytes: number;
  /** What the host may send at all, its side of the protocol included: more ends the connection. */
  readonly receivedBytes: number;
}

/** What came of it. `cut`: the command was given, and its connection or a signal ended it before it could tell its status. */
export type SshEnd =
  | ({ readonly kind: "exit"; readonly code: number } & SshOutput)
  | ({ readonly kind: "cut"; readonly problem: string } & SshOutput)
  | { readonly kind: "unreachable" | "refused" | "other-host"; readonly problem: string };

export interface SshOutput {
  readonly stdout: string;
  readonly stderr: string;
  /** There was more than is kept. */
  readonly isShortened: boolean;
}

/** What ssh2 puts on its errors: `level` its own, `code` a number where the other side said DISCONNECT (RFC 4253 s.11.1). */
interface SshError {
  readonly message: string;
  readonly level?: string;
  readonly code?: string | number;
  readonly errno?: number;
}

/**
 * Authenticated ciphers and elliptic curves, which every OpenSSH since 6.5 has; no compression, so that what is counted is what is unpacked;
 * no Diffie-Hellman group that the other side chooses.
 */
const algorithms = {
  kex: ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"],
  serverHostKey: ["ssh-ed25519"],
  cipher: ["aes256-gcm@openssh.com", "aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"],
  hmac: ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256"],
  compress: ["none"],
} as const;
/** A connection over which nothing comes back is looked after so often, and given up after that many. */
const keepAlive = { keepaliveInterval: 3000, keepaliveCountMax: 2 };
const hostKeyProblem = /host key|signature/i;

/**
 * One command on one host, whose key is the pinned one, with our key and nothing else: no agent, no password, no prompt, no forwarding.
 * @throws the signal's reason
 */
export async function runOverSsh(call: SshCall, signal: AbortSignal): Promise<SshEnd> {
  // 14 MB and 45 ms, for whoever gives such orders.
  const { Client } = await import("ssh2");
  signal.throwIfAborted();
  const client = new Client();
  const { promise, resolve, reject } = Promise.withResolvers<SshEnd>();
  const socket = connect({ host: call.address, port: call.port });
  const stop = (): void => reject(signal.reason as Error);
  signal.addEventListener("abort", stop, { once: true });
  let problem: SshError | undefined;
  const fail = (error: SshError): void => {
    problem ??= error;
    // Whoever holds the connection open after it failed would hold us.
    socket.destroy();
  };
  socket.on("data", () => {
    if (socket.bytesRead > call.receivedBytes)
      fail({ level: "flood", message: `it sent more than ${call.receivedBytes / 1024} KiB` });
  });
  const progress = follow(client, call, {
    fail,
    end: resolve,
    problem: () => problem,
  });
  try {
    client.connect({
      sock: socket,
      username: call.user,
      ident: "Rollcall",
      readyTimeout: call.loginLimitMs,
      ...keepAlive,
      algorithms: mutable(algorithms),
      hostVerifier: progress.isHost,
      authHandler: onlyOurKey(call),
    });
    return await promise;
  } finally {
    signal.removeEventListener("abort", stop);
    socket.destroy();
  }
}

/** Our key, once, whatever the other side offers. */
function onlyOurKey({ user, privateKey }: SshCall) {
  let isTried = false;
  return () => {
    if (isTried) return false;
    isTried = true;
    return { type: "publickey", username: user, key: privateKey } as const;
  };
}

interface Following {
  fail(error: SshError): void;
  end(end: SshEnd): void;
  problem(): SshError | undefined;
}

/** From the handshake to the end of the command. Every way ends with the connection's close. */
function follow(client: Client, call: SshCall, { fail, end, problem }: Following) {
  const pinned = Buffer.from(call.hostKey.split(" ")[1] ?? "", "base64");
  let isOther = false;
  let isHost = false;
  let isLoggedIn = false;
  let isGone = false;

  function atTheOrder(error: Error | undefined, channel: ClientChannel): void {
    const word = problem()?.message ?? "the connection was closed";
    if (!error) void outputOf(channel, call.keptBytes).then((output) => end(endOf(output)));
    // ssh2 says the same of a host that refuses the command and of one that is gone before its answer.
    else if (isGone && error.message === "Unable to exec") end({ kind: "cut", problem: word, ...noOutput });
    else if (isGone) end({ kind: "unreachable", problem: word });
    else end({ kind: "refused", problem: `it runs no command: ${error.message}` });
  }

  function endOf({ code, endedBy, ...output }: EndedOutput): SshEnd {
    const { level, message = "the connection was closed" } = problem() ?? {};
    if (level === "flood") return { kind: "refused", problem: message };
    if (code !== undefined) return { kind: "exit", code, ...output };
    return {
      kind: "cut",
      problem: endedBy === undefined ? message : `it was ended by ${endedBy}`,
      ...output,
    };
  }

  client
    .on("error", fail)
    // Nobody is verified before the signature under the key exchange is (RFC 4253 s.8).
    .on("handshake", () => (isHost = true))
    .on("ready", () => {
      if (!isHost || isOther || isLoggedIn) return fail({ message: "it let us in before it showed its key" });
      isLoggedIn = true;
      client.exec(call.command, atTheOrder);
    })
    .on("close", () => {
      isGone = true;
      if (!isLoggedIn) end(withoutLogin(problem(), { isOther, isHost }));
    });
  return {
    isHost(key: Buffer): boolean {
      isOther = !key.equals(pinned);
      return !isOther;
    },
  };
}

const noOutput: SshOutput = { stdout: "", stderr: "", isShortened: false };

/** Why nobody let us in. */
function withoutLogin(
  error: SshError | undefined,
  { isOther, isHost }: { readonly isOther: boolean; readonly isHost: boolean },
): SshEnd {
  const { message = "the connection was closed", level, code, errno } = error ?? {};
  if (isOther || (level === "handshake" && hostKeyProblem.test(message)))
    return { kind: "other-host", problem: message };
  if (level === "client-authentication")
    return { kind: "refused", problem: "Permission denied: it does not know this server's key" };
  const isRefusal = level === "flood" || (isHost && typeof code === "number");
  if (isRefusal) return { kind: "refused", problem: message };
  return {
    kind: "unreachable",
    problem: errno === undefined ? message : getSystemErrorMessage(errno) || message,
  };
}

interface EndedOutput extends SshOutput {
  readonly code: number | undefined;
  /** A signal's name, as the host has it. */
  readonly endedBy: string | undefined;
}

/** Everything is read, so that nothing waits for us; a part of it is kept. @returns once both outputs are closed */
async function outputOf(channel: ClientChannel, keptBytes: number): Promise<EndedOutput> {
  let code: number | undefined;
  let endedBy: string | undefined;
  channel.on("exit", (status: number | null, signal?: string) => {
    code = status ?? undefined;
    endedBy = signal;
  });
  channel.on("error", () => undefined);
  channel.end();
  const [stdout, stderr] = await Promise.all([kept(channel, keptBytes), kept(channel.stderr, keptBytes)]);
  const isShortened = stdout.isMore || stderr.isMore;
  return { code, endedBy, stdout: stdout.text, stderr: stderr.text, isShortened };
}

function kept(stream: ClientChannel | ClientChannel["stderr"], keptBytes: number) {
  return new Promise<{ text: string; isMore: boolean }>((resolve) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    let isMore = false;
    stream.on("data", (part: Buffer) => {
      isMore ||= bytes + part.length > keptBytes;
      const some = part.subarray(0, Math.max(0, keptBytes - bytes));
      if (some.length > 0) parts.push(Buffer.from(some));
      bytes += some.length;
    });
    stream.once("close", () => resolve({ text: Buffer.concat(parts).toString("utf8"), isMore }));
  });
}

/** ssh2's types want lists that it could change. */
function mutable(lists: typeof algorithms) {
  const { kex, serverHostKey, cipher, hmac, compress } = lists;
  return {
    kex: [...kex],
    serverHostKey: [...serverHostKey],
    cipher: [...cipher],
    hmac: [...hmac],
    compress: [...compress],
  };
}
