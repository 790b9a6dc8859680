import { type IncomingMessage, type OutgoingHttpHeaders, ServerResponse } from "node:http";

const titled = new Map<string, string>();
/** Names are our own and few; a limit all the same. */
const capacity = 1000;

/** `content-length` as `Content-Length`. */
function titleOf(name: string): string {
  const known = titled.get(name);
  if (known !== undefined) return known;
  const title = name.replaceAll(/(^|-)[a-z]/g, (start) => start.toUpperCase());
  if (titled.size < capacity) titled.set(name, title);
  return title;
}

/**
 * Writes header names as they stand in the RFCs. They mean the same in any case (RFC 9110 s.5.1), but GRUB compares them octet by octet
 * (net/http.c): without a `Content-Length` that it knows it waits for the end of the connection, which keep-alive never brings.
 */
export class TitledResponse<Request extends IncomingMessage> extends ServerResponse<Request> {
  override setHeader(name: string, value: number | string | readonly string[]): this {
    return super.setHeader(titleOf(name), value);
  }

  override writeHead(
    statusCode: number,
    reason?: string | OutgoingHttpHeaders | unknown[],
    headers?: OutgoingHttpHeaders | unknown[],
  ): this {
    const given = typeof reason === "string" ? headers : reason;
    // Node itself writes a list of names and values in turn.
    if (Array.isArray(given))
      for (let at = 0; at < given.length; at += 2) this.setHeader(String(given[at]), String(given[at + 1]));
    else
      for (const [name, value] of Object.entries(given ?? {}))
        if (value !== undefined) this.setHeader(name, value);
    return typeof reason === "string" ? super.writeHead(statusCode, reason) : super.writeHead(statusCode);
  }
}
