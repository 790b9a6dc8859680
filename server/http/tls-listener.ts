import { createServer, type Server } from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Clock } from "../domain/capabilities.ts";

/** What a TLS server shows, and whom it believes: PEM. */
export interface TlsCredentials {
  readonly certificatePem: string;
  readonly privateKeyPem: string;
  /** Authority of client certificates: those of the machines' agents. Undefined: none is asked for. */
  readonly authorityPem: string | undefined;
}

export interface TlsSettings {
  readonly port: number;
  /** Where it listens; undefined: everywhere. */
  readonly host?: string | undefined;
  /** A new certificate, and a new key. */
  readonly credentials: () => Promise<TlsCredentials>;
}

/** A server runs for months, its certificate for thirty days. */
const renewEveryMs = 24 * 60 * 60_000;

/** The same routes over TLS. A client certificate is asked for and not required: a route that needs one looks for it. */
export async function createTlsListener(
  { port, host = "0.0.0.0", credentials }: TlsSettings,
  clock: Pick<Clock, "after">,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  onFault: (error: unknown) => void,
  onBrokenHandshake: (address: string, alert: string) => void = () => {},
) {
  const context = async () => {
    const { certificatePem, privateKeyPem, authorityPem } = await credentials();
    return { cert: certificatePem, key: privateKeyPem, ca: authorityPem, minVersion: "TLSv1.2" as const };
  };
  const first = await context();
  const server: Server = createServer(
    { ...first, requestCert: first.ca !== undefined, rejectUnauthorized: false, handshakeTimeout: 10_000 },
    answer,
  );
  server.headersTimeout = 10_000;
  // What a client says of our certificate before it goes (RFC 8446 s.6.2), such as ERR_SSL_SSL/TLS_ALERT_CERTIFICATE_EXPIRED (SSLV3 in older OpenSSL).
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
    const alert = /^ERR_SSL_\S*ALERT_(\w{1,60})$/.exec(error.code ?? "")?.[1];
    const address = peerOf(socket);
    if (alert !== undefined && address !== undefined)
      onBrokenHandshake(address.replace(/^::ffff:/, ""), alert);
  });
  // Asked for now, it is known when the client has gone.
  server.on("connection", (socket: Socket) => void socket.remoteAddress);
  server.keepAliveTimeout = 65_000;
  let cancel = () => {};
  const renewLater = (): void => {
    cancel = clock.after(renewEveryMs, () => {
      context()
        .then((renewed) => server.setSecureContext(renewed))
        .catch(onFault)
        .finally(renewLater);
    });
  };

  return {
    server,
    async listen(backlog: number): Promise<number> {
      await new Promise<void>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ port, host, backlog }, () => {
          server.off("error", reject);
          // Too many open files, for one: the next connection may be taken again.
          server.on("error", onFault);
          resolve();
        });
      });
      renewLater();
      return (server.address() as AddressInfo).port;
    },
    cut: (): void => server.closeAllConnections(),
    async close(): Promise<void> {
      cancel();
      if (server.listening) await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
export type TlsListener = Awaited<ReturnType<typeof createTlsListener>>;

/**
 * Whose alert it is. The kernel no longer knows the peer of a connection that was reset, as it is when a client goes without reading what
 * it was sent; the connection below TLS, which has no public name, remembers it.
 */
function peerOf(socket: TLSSocket): string | undefined {
  const { _parent: below } = socket as unknown as { readonly _parent?: { readonly remoteAddress?: string } };
  return socket.remoteAddress ?? below?.remoteAddress;
}
