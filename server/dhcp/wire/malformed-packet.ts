/** A datagram that is no DHCP message we can read. The only error of this room; the shell counts it and stays silent. */
export class MalformedPacket extends Error {
  /** What was wrong, in a few words that make a good counter label. */
  readonly reason: string;
  constructor(reason: string) {
    super(`malformed DHCP packet: ${reason}`);
    this.name = "MalformedPacket";
    this.reason = reason;
  }
}
