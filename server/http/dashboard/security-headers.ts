import type { FastifyInstance } from "fastify";

/** Nothing from elsewhere, nothing inline: a text of a machine that gets into a page as markup still does nothing (CSP level 3). */
const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "font-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const securityHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": contentSecurityPolicy,
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
  // What browsers without frame-ancestors obey.
  "x-frame-options": "DENY",
};

/** On every answer of this scope, errors too; `nosniff` is on every answer of the server. */
export function installSecurityHeaders(app: FastifyInstance): void {
  app.addHook("onSend", (_request, reply, payload, done) => {
    void reply.headers(securityHeaders);
    done(null, payload);
  });
}
