/** Scripts of root, outside of the user namespace. */

/** Before the user's first process. @param steps commands of the system's own */
export function prepareScript(steps: readonly string[]): string {
  return `#!/bin/sh\n# What root has to do before the node's user may start.\nset -eu\n${steps.map((step) => `${step}\n`).join("")}`;
}

/** An ext4 in a sparse file in RAM, over which every kernel's overlayfs works (the layers of images lie on it). */
export const loopFileSteps: readonly string[] = [
  String.raw`
image=/var/lib/u7s-storage.img
if ! mountpoint -q "$U7S_STATE"; then
	# Of the RAM; it takes what is written to it and not removed again. Less than a root in RAM has room for (60 % in our image):
	# then a full one says so, where the file could not grow it would lose what is written.
	kib=$(awk '/^MemTotal:/ { print int($2 * 0.5) }' /proc/meminfo)
	rm -f "$image"
	truncate -s "$kib"K "$image"
	mkfs.ext4 -q -F -m 0 -O ^has_journal -E lazy_itable_init=1,nodiscard "$image"
	mkdir -p "$U7S_STATE"
	mount -t ext4 -o loop,nodev,noatime,discard "$image" "$U7S_STATE"
	rmdir "$U7S_STATE/lost+found"
	mkdir "$U7S_STATE/containers"
	# The outer one last: from then on it is the user's, and root follows no path in it.
	for directory in "$U7S_STATE/containers" "$U7S_STATE"; do
		chmod 700 "$directory"
		chown "$U7S_USER:$U7S_USER" "$directory"
	done
fi`,
];

/** Over an overlay there can be no other: where the root is one, images get a tmpfs beside it. */
export const plainFileSteps: readonly string[] = [
  String.raw`
if [ "$(stat -f -c %T "$U7S_STATE")" = overlayfs ]; then
	mount -t tmpfs -o "nodev,noatime,size=50%,mode=0700,uid=$(id -u "$U7S_USER"),gid=$(id -g "$U7S_USER")" tmpfs "$U7S_STATE"
	install -d -m 700 -o "$U7S_USER" -g "$U7S_USER" "$U7S_STATE/containers"
fi`,
];

/** What a boot does by itself, for those who come later: cloud-init's last stage, and the script run by hand. */
export function activateScript(configuration: string): string {
  return `#!/bin/sh
# Puts in force what was written into a system that runs already. In one that does not, the boot does it.
set -eu
# shellcheck source=/dev/null
. ${configuration}/env
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl restart systemd-modules-load.service systemd-sysctl.service || echo "u7s: not every module or sysctl is known here" >&2
systemctl try-restart systemd-journald.service
systemctl reload-or-restart systemd-logind.service
# shellcheck disable=SC2086 # a list of words
[ -z "$U7S_SYSTEM_UNITS" ] || systemctl start --no-block $U7S_SYSTEM_UNITS
loginctl enable-linger "$U7S_USER"
`;
}
