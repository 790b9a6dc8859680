import { machineFunctions } from "./agent-machine.ts";

const requests = String.raw`#!/bin/sh
# Brings this machine into the cluster: shows its claim to the server once, then does what the server tells it, one instruction after the
# other. What it knows lies in RAM, and an agent that starts anew goes on where the last one was.
set -uf
umask 077
LC_ALL=C
export LC_ALL

own=$ROLLCALL_STATE/agent
runtime=/run/user/$(id -u "$U7S_USER")
# sysexits(3): EX_NOPERM. The unit does not start it again.
refused=77

say() { printf 'rollcall: %s\n' "$*"; }

# A trouble that lasts is told once.
trouble=
complain() {
	[ "$*" = "$trouble" ] || say "$*"
	trouble=$*
}
answered() {
	[ -z "$trouble" ] || say "the server answers again"
	trouble=
	pause=0
}
finish() {
	say "$*"
	say "the agent ends here: this machine takes part again after its next boot"
	exit "$refused"
}

# Text of others, for a screen: one line.
printable() { tr -cd '\040-\176' | cut -c 1-500; }

as_user() { runuser -u "$U7S_USER" -- env HOME="$U7S_HOME" XDG_RUNTIME_DIR="$runtime" "$@"; }
inside() { as_user "$U7S_PROGRAMS/nsenter_u7s" "$@"; }

# rest SECONDS: up to half of it less, so that it is not over when all others' is.
rest() { sleep "$(($1 - $(od -An -N2 -tu2 /dev/urandom) % ($1 / 2 + 1)))"; }

# Waits after a failure: longer each time.
pause=0
back_off() {
	pause=$((pause * 2))
	[ "$pause" -ge "$ROLLCALL_RETRY_FIRST" ] || pause=$ROLLCALL_RETRY_FIRST
	[ "$pause" -le "$ROLLCALL_RETRY_LAST" ] || pause=$ROLLCALL_RETRY_LAST
	rest "$pause"
}

# ask OUTPUT SECONDS <CONFIG: one request with curl. Sets code: HTTP's, or 000 without an answer, and then problem.
# An answer may hold the data of a cluster: etcd's quota of 512 MiB, and some.
# Without a --capath of its own curl would take the authorities of the system beside ours.
ask() {
	rm -f "$1"
	code=$(curl -q --config - --silent --http1.1 --noproxy '*' --proto =https --tlsv1.2 --header Expect: \
		--cacert "$ROLLCALL_AUTHORITY" --capath "$own/none" \
		--connect-timeout 10 --max-time "$2" --max-filesize 629145600 --output "$1" --write-out '%{http_code}')
	status=$?
	problem=
	case $status in
	0) return ;;
	28) problem="no answer in time" ;;
	35 | 51 | 58 | 60 | 77) problem="no trust: its certificate is not the one that it should have, or the clock is wrong (curl $status)" ;;
	*) problem="no answer (curl $status)" ;;
	esac
	code=000
}

# What went wrong with a request, for people.
said() {
	if [ "$code" = 000 ]; then
		printf '%s' "$problem"
	else
		printf 'HTTP %s ' "$code"
		head -c 4096 "$1" 2>/dev/null | tr -d '\n' | sed -n 's/.*"detail": *"\([^"\\]*\)".*/\1/p' | printable
	fi
}
`;

const instructions = String.raw`wait_for_namespace() {
	left=$ROLLCALL_START_SECONDS
	until as_user systemctl --user is-active --quiet rootlesskit.service 2>/dev/null; do
		if [ "$left" -le 0 ]; then
			say "the user namespace of the node does not come up: journalctl _UID=$(id -u "$U7S_USER") tells why"
			exit 1
		fi
		complain "waiting for the user namespace of the node"
		sleep "$ROLLCALL_RETRY_FIRST"
		left=$((left - ROLLCALL_RETRY_FIRST - 1))
	done
	trouble=
}

make_key() {
	[ ! -s "$own/agent.csr" ] || return 0
	# Not every system has a configuration of its own for openssl.
	printf '[req]\ndistinguished_name = none\n[none]\n' >"$own/openssl.cnf"
	openssl ecparam -name prime256v1 -genkey -noout -out "$own/agent.key" &&
		openssl req -new -config "$own/openssl.cnf" -key "$own/agent.key" -subj /CN=rollcall-agent -out "$own/agent.csr.new" &&
		mv "$own/agent.csr.new" "$own/agent.csr"
}

# Keeps what a claim is answered: the certificate for our key, the node's name and the seconds of a long poll.
take_answer() {
	sed -n '/^-----BEGIN CERTIFICATE-----$/,/^-----END CERTIFICATE-----$/{p;/^-----END/q;}' "$own/answer" >"$own/agent.crt.new"
	name=$(sed -n 's/^name \([a-z0-9.-]\{1,253\}\)$/\1/p' "$own/answer" | head -n 1)
	poll=$(sed -n 's/^wait \([1-9][0-9]\{0,1\}\)$/\1/p' "$own/answer" | head -n 1)
	public=$(openssl x509 -in "$own/agent.crt.new" -noout -pubkey 2>/dev/null) || return
	[ -n "$name" ] && [ -n "$poll" ] && [ "$public" = "$(openssl pkey -in "$own/agent.key" -pubout)" ] || return
	printf '%s\n' "$poll" >"$own/poll"
	mv "$own/agent.crt.new" "$own/agent.crt"
}

join_server() {
	claim=$(claim)
	[ -n "$claim" ] || finish "this boot has no claim: neither in /etc/rollcall/callback nor on the kernel's command line"
	known=$(facts)
	while :; do
		ask "$own/answer" 30 <<-EOF
			url = "$ROLLCALL_URL/callback$claim/join"
			data-urlencode = "csr@$own/agent.csr"
			$known
		EOF
		case $code in
		200)
			if take_answer; then
				answered
				say "the server takes this machine as the node $name"
				return
			fi
			complain "the server's answer to the claim can't be read"
			;;
		403 | 404) finish "the server refuses this machine: $(said "$own/answer")" ;;
		*)
			complain "the server does not take the claim: $(said "$own/answer")"
			[ "$status" != 60 ] || check_clock
			;;
		esac
		back_off
	done
}

# bear FILE: waits after a refusal, which may pass. 401: the certificate is not taken. 403: the server knows another boot of this machine, or
# none; whether this one is over, the answer to its claim tells.
bear() {
	complain "the server does not know this machine now, and is asked again later: $(said "$1")"
	rest "$ROLLCALL_REFUSED_PAUSE"
	[ "$code" = 401 ] || join_server
}

# What nobody else may read leaves no machine: keys, tokens, and what an address or a kubeconfig holds of them.
redact() {
	tr -cd '\011\012\040-\176' | sed -E \
		-e 's/-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----.*-----END [A-Z ]*PRIVATE[ ]KEY-----/[a private key]/g' \
		-e '/-----BEGIN [A-Z ]*PRIVATE[ ]KEY-----/,/-----END [A-Z ]*PRIVATE[ ]KEY-----/{/-----BEGIN/!d;s/-----BEGIN.*/[a private key]/;}' \
		-e 's/(^|[^a-z0-9])[a-z0-9]{6}\.[a-z0-9]{16}/\1[a token]/g' \
		-e 's/eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+/[a token]/g' \
		-e 's/(^|[^0-9a-f:=])[0-9a-f]{64}/\1[a key]/g' \
		-e 's/-data:[ "]*[A-Za-z0-9+=/]{64,}/-data: [a credential]/g' \
		-e 's#/(claims|callback)/[^/ ]+#/\1/[a claim]#g'
}

# run_inside SECONDS COMMAND...: its output goes to the log. timeout(1) stands inside too, where it can end what it started.
run_inside() {
	seconds=$1
	shift
	inside timeout -k 10 "$seconds" "$@" </dev/null >>"$own/log" 2>&1
}
unpack() { inside "$U7S_PROGRAMS/unpack.sh" <"$own/instruction.tar" >>"$own/log" 2>&1; }
reset_node() {
	rm -f "$ROLLCALL_STATE/ready"
	run_inside 300 kubeadm reset -f "--cri-socket=$ROLLCALL_CRI_SOCKET"
}

# The network of pods, where the instruction brings it.
set_up_network() {
	tar -tf "$own/instruction.tar" | grep -qx files/etc/rollcall/network.sh || return 0
	run_inside "$deadline" sh /etc/rollcall/network.sh
}

# Cleans up first: kubeadm refuses a system on which it was before. Its files come after that, since reset takes them away.
run_kubeadm() {
	if [ -e "$own/tried" ]; then
		phase=reset
		say "cleaning up what an earlier try left (kubeadm reset)"
		reset_node
	fi
	: >"$own/tried"
	phase=unpack
	unpack || return
	phase=network
	set_up_network || return
	phase=kubeadm
	limit="$deadline s"
	[ "$deadline" -lt 120 ] || limit="$((deadline / 60)) min"
	case $operation in
	init) say "making the cluster (kubeadm init), $limit at most" ;;
	join) say "joining the cluster (kubeadm join), $limit at most" ;;
	esac
	# shellcheck disable=SC2086 # a list of words
	run_inside "$deadline" kubeadm "$operation" --config /etc/kubernetes/rollcall/kubeadm.yaml $arguments || {
		failed=$?
		word=$(sed -n 's/.*error execution phase \([a-z-]\{1,40\}\).*/\1/p' "$own/log" | tail -n 1)
		[ -z "$word" ] || phase=$word
		return "$failed"
	}
}

run_network() {
	phase=unpack
	unpack || return
	phase=network
	set_up_network
}

run_ready() {
	# For others of this machine.
	(umask 022 && : >"$ROLLCALL_STATE/ready")
	say "this machine is a node of the cluster, and ready"
	systemctl start --no-block rollcall-nodeports.service >>"$own/log" 2>&1
}

run_reset() {
	systemctl stop rollcall-nodeports.service >>"$own/log" 2>&1
	say "taking this machine out of the cluster (kubeadm reset)"
	reset_node
	result=$?
	as_user systemctl --user stop kubelet.service >>"$own/log" 2>&1
	[ "$result" != 0 ] || rm -f "$own/tried"
	return "$result"
}

# Tells the server that this machine lives, for as long as an instruction is at work: what asks says that it is done, and is answered at once.
heartbeat() {
	while sleep "$poll" && kill -0 $$ 2>/dev/null; do
		ask "$own/heartbeat" 30 <<-EOF
			url = "$ROLLCALL_URL/node/instruction?done=$sequence&wait=0"
			$credentials
		EOF
	done
}

# Sets result and phase.
execute() {
	: >"$own/log"
	phase=$operation
	heartbeat &
	heart=$!
	case $operation in
	init | join) run_kubeadm ;;
	network) run_network ;;
	ready) run_ready ;;
	reset) run_reset ;;
	reboot) ;;
	*)
		phase=unknown
		echo "this agent knows no such operation, or not its arguments: $operation" >"$own/log"
		# sysexits(3): EX_USAGE
		(exit 64)
		;;
	esac
	result=$?
	kill "$heart" 2>/dev/null
	[ "$result" = 0 ] || say "$operation failed ($result, $phase): $(redact <"$own/log" | grep . | tail -n 1 | printable)"
	redact <"$own/log" | tail -c 8192 >"$own/results/$sequence.log"
	printf '%s %s\n' "$result" "$phase" >"$own/results/new"
	mv "$own/results/new" "$own/results/$sequence"
}

# Until the server has it: the instruction counts as done only then.
report() {
	read -r result phase <"$own/results/$sequence"
	while :; do
		ask "$own/answer" 30 <<-EOF
			url = "$ROLLCALL_URL/node/report?sequence=$sequence&result=$result&phase=$phase"
			header = "Content-Type: text/plain"
			data-binary = "@$own/results/$sequence.log"
			$credentials
		EOF
		case $code in
		2??)
			answered
			return
			;;
		401 | 403) bear "$own/answer" ;;
		000 | 408 | 429 | 5??) complain "the server does not take the report: $(said "$own/answer")" ;;
		*)
			say "the server has no use for the report of instruction $sequence: $(said "$own/answer")"
			return
			;;
		esac
		back_off
	done
}

field() { sed -n "s/^$1=\($2\)\$/\1/p" "$own/instruction" | head -n 1; }

keep_done() {
	last=$sequence
	printf '%s\n' "$last" >"$own/done.new"
	mv "$own/done.new" "$own/done"
}

# Fails for an answer that is no instruction.
follow() {
	tar -xOf "$own/instruction.tar" instruction >"$own/instruction" 2>/dev/null || return
	sequence=$(field sequence '[0-9]\{1,15\}')
	operation=$(field operation '[a-z]\{1,20\}')
	[ -n "$sequence" ] && [ -n "$operation" ] || return
	deadline=$(field deadline '[1-9][0-9]\{0,4\}')
	[ -n "$deadline" ] || deadline=600
	arguments=$(field arguments '[A-Za-z0-9=/.,_ -]*')
	if [ -z "$arguments" ] && grep -q '^arguments=.' "$own/instruction"; then operation=refused; fi
	message=$(sed -n 's/^message=//p' "$own/instruction" | head -n 1 | printable)
	if [ -n "$message" ] && [ "$message" != "$shown" ]; then
		say "$message"
		shown=$message
		printf '%s\n' "$shown" >"$own/shown"
	fi
	case $operation in
	wait | none)
		keep_done
		return
		;;
	esac
	[ "$sequence" = "$last" ] || worked=yes
	# A new start of the machine is the one that can be asked for twice.
	if [ ! -e "$own/results/$sequence" ] || [ "$operation" = reboot ]; then execute; fi
	report
	keep_done
	if [ "$operation" = reboot ]; then
		say "starting this machine anew, as the server says"
		systemctl reboot || say "systemd does not start this machine anew"
	fi
}

mkdir -p "$own/none" "$own/results"
chmod 755 "$ROLLCALL_STATE"
last=0
poll=20
shown=
make_key || {
	say "openssl makes no key"
	exit 1
}
wait_for_namespace
[ -s "$own/agent.crt" ] || join_server
credentials=$(printf 'cert = "%s"\nkey = "%s"' "$own/agent.crt" "$own/agent.key")
[ ! -s "$own/done" ] || read -r last <"$own/done"
[ ! -s "$own/poll" ] || read -r poll <"$own/poll"
[ ! -s "$own/shown" ] || read -r shown <"$own/shown"

while :; do
	began=$(date +%s)
	worked=
	ask "$own/instruction.tar" "$((poll + 15))" <<-EOF
		url = "$ROLLCALL_URL/node/instruction?done=$last&wait=$poll"
		$credentials
	EOF
	case $code in
	200)
		if follow; then answered; else
			complain "the server's instruction can't be read"
			back_off
		fi
		;;
	204) answered ;;
	401 | 403) bear "$own/instruction.tar" ;;
	*)
		complain "the server gives no instruction: $(said "$own/instruction.tar")"
		back_off
		;;
	esac
	# Whatever the server answers at once, and again: not as fast as it can.
	[ -n "$worked" ] || [ "$(date +%s)" -gt "$((began + 1))" ] || sleep "$ROLLCALL_RETRY_FIRST"
done
`;

/**
 * The agent of a node: root, outside of the user namespace. Addresses with a claim reach curl on its standard input, keys in files: the
 * command line of a process can be read by all. Its settings are the environment's, so that the text is the same for all machines.
 */
export const agentScript = `${requests}
${machineFunctions}
${instructions}`;
