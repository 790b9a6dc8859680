/** DHCP option codes that this server reads or writes (RFC 2132 unless noted; IANA "BOOTP Vendor Extensions"). */
export const OptionCode = {
  Pad: 0,
  SubnetMask: 1,
  Router: 3,
  DnsServers: 6,
  HostName: 12,
  DomainName: 15,
  BroadcastAddress: 28,
  VendorSpecific: 43,
  RequestedAddress: 50,
  LeaseTime: 51,
  Overload: 52,
  MessageType: 53,
  ServerId: 54,
  ParameterRequestList: 55,
  Message: 56,
  MaximumMessageSize: 57,
  RenewalTime: 58,
  RebindingTime: 59,
  VendorClass: 60,
  ClientId: 61,
  TftpServerName: 66,
  BootfileName: 67,
  /** RFC 3004 */
  UserClass: 77,
  /** RFC 3046 */
  RelayAgentInformation: 82,
  /** RFC 4578 s.2.1 */
  ClientArchitecture: 93,
  /** RFC 4578 s.2.2 */
  ClientNdi: 94,
  /** RFC 4578 s.2.3 */
  ClientMachineId: 97,
  /** Etherboot's encapsulated options, in use by iPXE. */
  Ipxe: 175,
  End: 255,
} as const;

/** Option 53 (RFC 2132 s.9.6). */
export const MessageType = {
  Discover: 1,
  Offer: 2,
  Request: 3,
  Decline: 4,
  Ack: 5,
  Nak: 6,
  Release: 7,
  Inform: 8,
} as const;

/** Sub-option of option 82 that names the client's subnet (RFC 3527). */
export const LinkSelectionSubOption = 5;
