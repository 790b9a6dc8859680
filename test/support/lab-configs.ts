/** Configs of the servers in the labs: one bridge, 10.77.0.0/24. */

/** The server gives the addresses itself. */
export const authoritativeConfig = `
interfaces: [br0]
dhcp:
  mode: authoritative
  subnets:
    - subnet: 10.77.0.0/24
      range: 10.77.0.100-10.77.0.199
`;

/** The addresses are another server's. */
export const proxyConfig = `
interfaces: [br0]
dhcp: { mode: proxy }
`;
