/** What an instruction brings, written inside of the user namespace. Standard input alone: the archive holds keys. */
export const unpackScript = String.raw`#!/bin/sh
# unpack.sh <ARCHIVE: writes the members below files/ into this system, with their modes.
set -euf
umask 077
work=$(mktemp -d /run/rollcall-unpack.XXXXXX)
trap 'rm -rf "$work"' EXIT
cat >"$work/archive"
tar -tf "$work/archive" >"$work/names"
# Regular files with plain names alone.
if tar -tvf "$work/archive" | grep -qv '^-' ||
	grep -Eqv '^(instruction|files(/[A-Za-z0-9_@+=:.-]+)+)$' "$work/names" || grep -Eq '/\.\.?(/|$)' "$work/names"; then
	echo "unpack.sh: a member of the archive is no file, or its name is not plain" >&2
	# sysexits(3): EX_DATAERR
	exit 65
fi
members=$(grep '^files/' "$work/names") || exit 0

# rootlesskit's copy of a directory has links to what the system has in it, where nobody may write in here: such a link on the way to a
# file of ours becomes a directory of links.
open_up() {
	case $(readlink "$1") in
	.ro[0-9]*/*)
		original=$(readlink -f "$1")
		rm "$1"
		mkdir "$1"
		find "$original" -mindepth 1 -maxdepth 1 -exec ln -s {} "$1/" \;
		;;
	esac
}
# Each directory once, the outer ones first.
directories=$(printf '%s\n' "$members" | awk -F / '{ path = ""; for (i = 2; i < NF; i++) print path = path "/" $i }' | sort -u)
umask 022
for directory in $directories; do
	if [ -L "$directory" ]; then open_up "$directory"; fi
done
# They are root's, whoever they were in the archive.
# shellcheck disable=SC2086 # a list of words
tar -xpof "$work/archive" -C / --strip-components=1 $members
# etcd 3.4.10 to 3.4.13, that of kubeadm 1.19 and 1.20, does not start where others may look into its directories.
case $members in
*files/var/lib/etcd/*) chmod -R go= /var/lib/etcd ;;
esac
`;
