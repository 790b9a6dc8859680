import { createSocket } from "node:dgram";
import type { Ipv4 } from "../../server/net/ipv4.ts";
import { decodeMessage, type DhcpMessage, encodeMessage } from "../../server/dhcp/wire/message.ts";
import { MessageType, OptionCode } from "../../server/dhcp/wire/option-codes.ts";
import { ipv4Option, octetOption } from "../../server/dhcp/wire/options.ts";
import { requestMessage, type RequestShape } from "./dhcp-messages.ts";

/** Long for loopback; a test that waits in vain for a reply takes this long. */
const replyLimitMs = 10_000;

/** A relay agent on loopback with any number of clients behind it: replies come unicast, nobody needs a privilege. */
export interface DhcpRelay {
  readonly port: number;
  /** All that came, in order. */
  readonly replies: DhcpMessage[];
  /** The same as octets, with the port that they came from. */
  readonly datagrams: { readonly octets: Uint8Array; readonly from: number }[];
  /** @param address of the server */
  send(shape: RequestShape, to: number, address?: string): void;
  sendRaw(datagram: Uint8Array, to: number): void;
  /** Sends and waits for the reply with the same xid. @throws when none comes in time */
  ask(shape: RequestShape, to: number, address?: string): Promise<DhcpMessage>;
  /** DISCOVER, OFFER, REQUEST, ACK. */
  lease(shape: Omit<RequestShape, "type">, to: number): Promise<DhcpMessage>;
  close(): Promise<void>;
}

export const typeOf = (message: DhcpMessage): string | undefined =>
  Object.entries(MessageType).find(
    ([, value]) => value === octetOption(message.options, OptionCode.MessageType),
  )?.[0];

export async function createDhcpRelay(): Promise<DhcpRelay> {
  const socket = createSocket({ type: "udp4", recvBufferSize: 4 * 1024 * 1024 });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  const replies: DhcpMessage[] = [];
  const datagrams: { octets: Uint8Array; from: number }[] = [];
  const waiting = new Map<number, (message: DhcpMessage) => void>();
  socket.on("message", (datagram, { port }) => {
    datagrams.push({ octets: datagram, from: port });
    const message = decodeMessage(datagram);
    replies.push(message);
    waiting.get(message.xid)?.(message);
  });
  let xid = 1;
  const relay: DhcpRelay = {
    port: socket.address().port,
    replies,
    datagrams,
    send: (shape, to, address = "127.0.0.1") =>
      socket.send(encodeMessage(requestMessage({ giaddr: "127.0.0.1", ...shape })), to, address),
    sendRaw: (datagram, to) => socket.send(datagram, to, "127.0.0.1"),
    ask(shape, to, address) {
      const id = shape.xid ?? xid++;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          waiting.delete(id);
          reject(new Error(`no reply to ${shape.type}`));
        }, replyLimitMs);
        waiting.set(id, (message) => {
          clearTimeout(timer);
          waiting.delete(id);
          resolve(message);
        });
        relay.send({ ...shape, xid: id }, to, address);
      });
    },
    async lease(shape, to) {
      const offer = await relay.ask({ ...shape, type: "Discover" }, to);
      const server = ipv4Option(offer.options, OptionCode.ServerId) as Ipv4;
      return relay.ask({ ...shape, type: "Request", requested: offer.yiaddr, server }, to);
    },
    close: () => new Promise((resolve) => socket.close(() => resolve())),
  };
  return relay;
}
