/**
 * NodePorts of services are published here, since what listens in the user namespace is not reachable by itself. It asks the API server as
 * kubelet, which may list and watch services (the role system:node).
 */
export const nodePortsScript = String.raw`#!/bin/sh
# nodeports.sh: keeps published on this machine the NodePorts that the cluster's services have.
# nodeports.sh list, nodeports.sh watch VERSION: inside of the user namespace, what they are, and when they may have changed.
set -eu
LC_ALL=C
export LC_ALL

# kubelet_says KEY: values of kubelet's own configuration, in quotes (as the server writes it) or without (as kubelet does).
kubelet_says() { sed -n 's/^ *'"$1"': *"\{0,1\}\([A-Za-z0-9.:/+=-]*\)"\{0,1\} *$/\1/p' /etc/kubernetes/kubelet.conf; }

# Sets identity, a file with kubelet's certificate and key. On the machine that made the cluster they stand in kubelet's own
# configuration until kubelet renews them for the first time.
find_identity() {
	identity=/var/lib/kubelet/pki/kubelet-client-current.pem
	[ ! -e "$identity" ] || return 0
	identity=/run/rollcall-kubelet.pem
	(
		umask 077
		kubelet_says 'client-[a-z]*-data' | while read -r data; do printf '%s' "$data" | base64 -d; done >"$identity"
	)
}

# ask PATH SECONDS: of the API server, as kubelet. It takes its shell's place.
ask() {
	find_identity
	server=$(kubelet_says server | head -n 1)
	case $server in
	https://*) ;;
	*) exit 1 ;;
	esac
	exec curl -q --silent --fail --no-buffer --noproxy '*' --proto =https --cacert /etc/kubernetes/pki/ca.crt --capath /nonexistent \
		--cert "$identity" --key "$identity" --connect-timeout 10 --max-time "$2" "$server$1"
}

# JSON read token by token, a line of it after the other: the path of each value is on a stack, so that no text in it can pass for a port.
ports_of() {
	awk '
	# What a value is, where it stands.
	function value(text) {
		if (depth == 1 && names[1] == "kind") isList = text == "\"ServiceList\""
		if (depth == 2 && names[1] == "metadata" && names[2] == "resourceVersion") version = text
		if (depth != 6 || names[1] != "items" || names[3] != "spec" || names[4] != "ports") return
		if (names[6] == "nodePort") port = text
		if (names[6] == "protocol") protocol = text
	}
	function open_(kind) {
		depth++
		kinds[depth] = kind
		names[depth] = ""
		isKey = kind == "{"
	}
	function close_() {
		depth--
		isKey = 0
		# The end of one of the ports of a service.
		if (depth == 5 && names[1] == "items" && names[3] == "spec" && names[4] == "ports") {
			if (protocol == "") protocol = "\"TCP\""
			if (port ~ /^[0-9]+$/ && port + 0 >= 30000 && port + 0 <= 32767 && (protocol == "\"TCP\"" || protocol == "\"UDP\""))
				found[port "/" tolower(substr(protocol, 2, 3))] = 1
			port = protocol = ""
		}
	}
	{
		rest = $0
		while (match(rest, /^[ \t\r]*("[^"\\]*(\\.[^"\\]*)*"|[^][{}:," \t\r]+|[][{}:,])/)) {
			token = substr(rest, 1, RLENGTH)
			rest = substr(rest, RLENGTH + 1)
			sub(/^[ \t\r]*/, "", token)
			if (token == "{" || token == "[") open_(token)
			else if (token == "}" || token == "]") close_()
			else if (token == ",") isKey = kinds[depth] == "{"
			else if (token == ":") isKey = 0
			else if (isKey) names[depth] = substr(token, 2, length(token) - 2)
			else value(token)
		}
		if (rest ~ /[^ \t\r]/) isBroken = 1
	}
	END {
		if (isBroken || depth != 0 || !isList || version !~ /^"[0-9]+"$/) exit 1
		print "version " substr(version, 2, length(version) - 2)
		for (one in found) print one
	}'
}

act=keep
[ $# = 0 ] || act=$1
case $act in
list)
	ask '/api/v1/services?pretty=true' 30 | ports_of
	exit
	;;
watch)
	# Ends with the first change, or after a minute.
	pipe=$(mktemp -d /run/rollcall-watch.XXXXXX)
	trap 'rm -rf "$pipe"' EXIT
	mkfifo "$pipe/changes"
	ask "/api/v1/services?watch=true&timeoutSeconds=60&resourceVersion=$2" 90 >"$pipe/changes" &
	asking=$!
	read -r _ <"$pipe/changes" || true
	kill "$asking" 2>/dev/null || true
	exit 0
	;;
esac

inside() { "$U7S_PROGRAMS/nsenter_u7s" "$U7S_PROGRAMS/nodeports.sh" "$@"; }
# What it published itself: nothing else is ever taken away.
own=$XDG_RUNTIME_DIR/usernetes/nodeports
mkdir -p "$(dirname "$own")"
touch "$own"
silent=
while :; do
	if listed=$(inside list 2>/dev/null) && published=$("$U7S_PROGRAMS/rootlessctl.sh" list); then
		silent=
		wanted=$(printf '%s\n' "$listed" | sed 1d)
		published=$(printf '%s\n' "$published" | awk 'NR > 1 { print $4 "/" $2 }')
		kept=
		for port in $wanted; do
			number=$(printf '%s' "$port" | sed 's|/.*||')
			if ! printf '%s\n' "$published" | grep -qx "$port"; then
				"$U7S_PROGRAMS/rootlessctl.sh" add "$number:$port" >/dev/null || continue
				echo "published $port"
			elif ! grep -qx "$port" "$own"; then
				continue
			fi
			kept="$kept$port
"
		done
		while read -r port; do
			if printf '%s' "$kept" | grep -qx "$port"; then continue; fi
			number=$(printf '%s' "$port" | sed 's|/.*||')
			if "$U7S_PROGRAMS/rootlessctl.sh" remove "$number:$port" >/dev/null; then
				echo "no longer published: $port"
			else
				kept="$kept$port
"
			fi
		done <"$own"
		printf '%s' "$kept" >"$own.new"
		mv "$own.new" "$own"
		inside watch "$(printf '%s\n' "$listed" | sed -n '1s/^version //p')" 2>/dev/null || true
	elif [ -z "$silent" ]; then
		silent=yes
		echo "the API server does not tell its services; the ports stay as they are"
	fi
	sleep "$ROLLCALL_NODE_PORTS_PAUSE"
done
`;
