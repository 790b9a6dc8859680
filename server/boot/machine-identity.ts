import { createHmac } from "node:crypto";
import type { Mac } from "../net/mac.ts";
import { machineIdFrom } from "../node/node-facts.ts";

/**
 * A machine's machine-id, the same at each boot though nothing of it is kept on the machine; nobody else can tell it from the MAC, as
 * machine-id(5) asks.
 * @param secret of this server
 */
export function machineIdOf(secret: Uint8Array, mac: Mac): string {
  return machineIdFrom(createHmac("sha256", secret).update(`machine-id ${mac}`).digest());
}
