/** What the agent says of its machine: functions of its script. */
export const machineFunctions = String.raw`# The path's last part of a callback, with its slash: /<claim>
claim() {
	if [ -s /etc/rollcall/callback ]; then
		cat /etc/rollcall/callback
	else
		tr ' ' '\n' </proc/cmdline | sed -n 's/^rollcall\.callback=//p'
	fi | sed -n 's|^https\{0,1\}://[^/]*/callback\(/[A-Za-z0-9_-]\{16,128\}\)$|\1|p' | head -n 1
}

boot_mac() {
	mac=$(tr ' ' '\n' </proc/cmdline | sed -n 's/^BOOTIF=[0-9A-Fa-f]\{2\}-//p' | head -n 1)
	[ -n "$mac" ] || mac=$(cat "/sys/class/net/$(awk '$2 == "00000000" { print $1; exit }' /proc/net/route)/address" 2>/dev/null)
	printf '%s' "$mac" | tr 'A-F-' 'a-f:'
}

# One line of curl's configuration: a field of a form.
fact() { printf 'data-urlencode = "%s=%s"\n' "$1" "$(tr -cd 'A-Za-z0-9.:_+~ -' | cut -c 1-128)"; }
facts() {
	id=$(id -u "$U7S_USER")
	fact bootId </proc/sys/kernel/random/boot_id
	sed 'y/ABCDEF/abcdef/' /sys/class/dmi/id/product_uuid 2>/dev/null | fact uuid
	boot_mac | fact mac
	awk '/^MemTotal:/ { print $2 }' /proc/meminfo | fact memoryKiB
	nproc | fact processors
	uname -r | fact kernel
	sed -n p "/sys/fs/cgroup/user.slice/user-$id.slice/user@$id.service/cgroup.controllers" 2>/dev/null | fact controllers
	awk -F : -v user="$U7S_USER" '$1 == user { count += $3 } END { print count + 0 }' /etc/subuid | fact subuids
	basename "$ROLLCALL_CRI_SOCKET" .sock | fact runtime
}

# epoch <"21 Nov 2026 15:49:52": seconds since 1970.
epoch() {
	awk 'NF >= 4 {
		month = (index("JanFebMarAprMayJunJulAugSepOctNovDec", $2) + 2) / 3
		year = $3 - (month <= 2)
		days = 365 * year + int(year / 4) - int(year / 100) + int(year / 400) + int(((month + 9) % 12 * 306 + 5) / 10) + $1 - 719469
		split($4, time, ":")
		printf "%.0f\n", days * 86400 + time[1] * 3600 + time[2] * 60 + time[3]
	}'
}

# All certificates begin when their authority does. A clock that is before that is wrong for certain, and nothing can be checked with it:
# it is set to the server's, once. Any other clock stays as it is.
check_clock() {
	start=$(openssl x509 -in "$ROLLCALL_AUTHORITY" -noout -startdate |
		sed 's/^notBefore=\([A-Za-z]*\)  *\([0-9]*\) \([0-9:]*\) \([0-9]*\).*/\2 \1 \4 \3/' | epoch)
	server=$(curl -q --silent --http1.1 --noproxy '*' --proto =https --insecure --head --connect-timeout 10 --max-time 15 "$ROLLCALL_URL/" |
		tr -d '\r' | sed -n 's/^[Dd]ate: *[A-Za-z]*, *//p' | head -n 1 | epoch)
	[ -n "$start" ] && [ -n "$server" ] || return
	now=$(date -u +%s)
	apart=$((server - now))
	[ "$apart" -gt 300 ] || [ "$apart" -lt -300 ] || return
	if [ "$now" -lt "$start" ] && [ "$server" -ge "$start" ] && [ ! -e "$own/clock" ]; then
		: >"$own/clock"
		say "the clock is behind all certificates: it is set to the server's time"
		date -u -s "@$server" >/dev/null || say "the clock can't be set"
	else
		say "this machine's clock and the server's are $apart seconds apart"
	fi
}
`;
