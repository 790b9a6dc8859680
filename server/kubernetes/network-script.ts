/** POSIX sh, run inside of a node's user namespace as often as one likes: makes the tunnel to the other nodes what the table says. */
export const networkScript = `#!/bin/sh
# Makes the network of pods what a table of nodes says; made by Rollcall.
#   self ADDRESS PODS MAC ALL-PODS MTU
#   peer ADDRESS PODS MAC
# The pods of each other node are behind its end of a VXLAN (RFC 7348), whose addresses all follow from the table: nothing is learned or asked for.
set -eu
table=\${1:-/etc/rollcall/network.table}
device=rollcall0
port=8472

while read -r kind address pods mac all mtu; do
  [ "$kind" = self ] && break
done <"$table"
[ "$kind" = self ] || { echo "$table names no node as self" >&2; exit 1; }

# A tunnel from another address is of another boot or network: it is made anew.
if ! ip -d link show dev "$device" 2>/dev/null | grep -qF "vxlan id 1 local $address " ||
  ! ip link show dev "$device" | grep -qF "link/ether $mac "; then
  ip link del dev "$device" 2>/dev/null || :
  ip link add "$device" address "$mac" type vxlan id 1 local "$address" dstport "$port" nolearning
fi
# Kernels before 6.6 may send packets of pods with checksums that the other end takes for wrong.
if command -v ethtool >/dev/null; then ethtool -K "$device" tx-checksum-ip-generic off >/dev/null 2>&1 || :; fi
ip link set dev "$device" mtu "$mtu" up
ip addr replace "\${pods%/*}/32" dev "$device"
for setting in ip_forward=1 conf/all/rp_filter=2 "conf/$device/rp_filter=2"; do
  { echo "\${setting#*=}" >"/proc/sys/net/ipv4/\${setting%=*}"; } 2>/dev/null || :
done
# What goes to other pods keeps its address; the rest goes as the machine.
iptables -w -t nat -C POSTROUTING -s "$all" ! -d "$all" -j MASQUERADE 2>/dev/null ||
  iptables -w -t nat -A POSTROUTING -s "$all" ! -d "$all" -j MASQUERADE

while read -r kind address pods mac _; do
  [ "$kind" = peer ] || continue
  ip neigh replace "\${pods%/*}" lladdr "$mac" dev "$device" nud permanent
  bridge fdb replace "$mac" dev "$device" dst "$address" self permanent
  ip route replace "$pods" via "\${pods%/*}" dev "$device" onlink
done <"$table"

# Nodes that are gone.
ip route show dev "$device" | while read -r pods _; do
  grep -qF " $pods " "$table" || ip route del "$pods" dev "$device"
done
ip neigh show dev "$device" nud permanent | while read -r address _; do
  grep -qF " $address/" "$table" || ip neigh del "$address" dev "$device"
done
bridge fdb show dev "$device" | while read -r mac _ address _; do
  grep -q "^peer $address .* $mac\\$" "$table" || bridge fdb del "$mac" dev "$device" dst "$address" self
done
`;
