/** The first descriptor that systemd hands over (sd_listen_fds(3)). */
const firstDescriptor = 3;

/** What firmware calls the services of these ports; units name their descriptors by them. */
const serviceNames: Readonly<Record<number, string>> = { 67: "dhcp", 69: "tftp", 4011: "pxe" };

/**
 * The sockets that systemd opened for this process, by the name of their unit's `FileDescriptorName=`. Empty when the
 * process was not started by a socket unit, or the variables are meant for another process (`LISTEN_PID`).
 */
export function systemdSockets(
  environment: Readonly<Record<string, string | undefined>>,
  processId: number,
): ReadonlyMap<string, number> {
  const sockets = new Map<string, number>();
  const count = Number(environment["LISTEN_FDS"]);
  if (Number(environment["LISTEN_PID"]) !== processId || !Number.isInteger(count)) return sockets;
  const names = (environment["LISTEN_FDNAMES"] ?? "").split(":");
  for (let index = 0; index < count; index++) {
    const name = names[index];
    if (name) sockets.set(name, firstDescriptor + index);
  }
  return sockets;
}

/** The names that a unit may give the socket of a device and port: `dhcp-eth0`, and for any port `udp67-eth0`. */
export function systemdSocketNames(device: string, port: number): readonly string[] {
  const service = serviceNames[port];
  return [...(service ? [`${service}-${device}`] : []), `udp${port}-${device}`];
}
