import { isIP } from "node:net";

/** Where an API server is dialled: the load balancer here, or one master. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

export const isAddress = (host: string): boolean => isIP(host) !== 0;

/** `10.0.0.11:6443`, `[fd00::1]:6443` */
export function addressOf({ host, port }: Target): string {
  return `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}
