import { type AddressInfo, createServer, type Server as NetServer, type Socket } from "node:net";
import ssh2, { type AuthContext, type Connection, type ServerChannel } from "ssh2";
import type { Test } from "tap";
import { makeKey } from "../../server/power/own-key.ts";

const { Server } = ssh2;

/** What the types of ssh2 do not have: the octets of the protocol, for whoever does not keep to it. */
export interface RawProtocol {
  authInfoReq(name: string, instructions: string, prompts: readonly object[]): void;
  authSuccess(): void;
  ping(): void;
}
export const rawOf = (client: Connection): RawProtocol =>
  (client as unknown as { _protocol: RawProtocol })._protocol;

export interface ImpostorPlay {
  /** In OpenSSH's format; new ones where there is none. */
  readonly hostKeys?: readonly string[];
  readonly onConnection?: (client: Connection) => void;
  /** What it does with a command; it ends well otherwise. */
  readonly onCommand?: (channel: ServerChannel, client: Connection) => void;
  readonly onAuthentication?: (attempt: AuthContext, client: Connection) => void;
  /** Told of each octet that it would send; false: it ends the connection there. */
  readonly maySend?: (bytes: number) => boolean;
}

export interface Impostor {
  readonly port: number;
  /** As in known_hosts: the key of the first of its own. */
  readonly hostKey: string;
  readonly commands: string[];
  /** How many connections are open. */
  readonly open: () => number;
  /** Resolves once nobody is connected. */
  readonly alone: () => Promise<void>;
}

/** A host that takes everybody, and plays false as it is told. */
export async function startSshImpostor(t: Test, play: ImpostorPlay = {}): Promise<Impostor> {
  const key = makeKey();
  const commands: string[] = [];
  const server = new Server({ hostKeys: [...(play.hostKeys ?? [key.privateKey])] }, (client) => {
    client.on("error", () => undefined);
    client.on("authentication", (attempt) => {
      if (play.onAuthentication) play.onAuthentication(attempt, client);
      else attempt.accept();
    });
    client.on("session", (accept) => {
      accept().on("exec", (acceptExec, _reject, { command }) => {
        commands.push(command);
        const channel = acceptExec();
        channel.on("error", () => undefined);
        if (play.onCommand) return play.onCommand(channel, client);
        channel.exit(0);
        channel.end();
      });
    });
    play.onConnection?.(client);
  });
  const port = await listening(t, (socket) => {
    if (play.maySend) cutWhereTold(socket, play.maySend);
    server.injectSocket(socket);
  });
  return {
    port: port.port,
    hostKey: key.publicKey.split(" ").slice(0, 2).join(" "),
    commands,
    open: port.open,
    alone: port.alone,
  };
}

/** Sends an octet after the other, until it is told to stop. */
function cutWhereTold(socket: Socket, maySend: (bytes: number) => boolean): void {
  const write = socket.write.bind(socket) as (octets: Uint8Array) => boolean;
  socket.write = ((data: Uint8Array | string): boolean => {
    const octets = Buffer.from(data as Uint8Array);
    for (let length = 1; length <= octets.length; length++)
      if (!maySend(1)) {
        if (length > 1) write(octets.subarray(0, length - 1));
        socket.destroySoon();
        return true;
      }
    return write(octets);
  }) as typeof socket.write;
}

/** A listener on a port of the loopback that ends with its test. */
export async function listening(t: Test, onSocket: (socket: Socket) => void) {
  const sockets = new Set<Socket>();
  const server: NetServer = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.once("close", () => {
      sockets.delete(socket);
      if (sockets.size === 0) server.emit("alone");
    });
    onSocket(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as AddressInfo).port,
    open: () => sockets.size,
    alone: () =>
      new Promise<void>((resolve) => void (sockets.size === 0 ? resolve() : server.once("alone", resolve))),
  };
}
