#!/bin/sh
# Last work on the new root, run by mmdebstrap as customize hook with the root as $1. What a recipe wants is read
# from $ROLLCALL_STAGE: overlay/ and initramfs/ (files), and the lists units.* (a name on each line).
set -eu

root=$1
stage=$ROLLCALL_STAGE

say() {
  echo "rollcall: $*"
}

say "copying files"
cp -R "$stage/overlay/." "$root/"
cp -R "$stage/initramfs/." "$root/etc/initramfs-tools/"

say "setting up units"
while read -r unit; do
  chroot "$root" systemctl enable "$unit"
done < "$stage/units.enable"
while read -r unit; do
  # Masked by hand: systemctl refuses names that this set of packages does not have.
  ln -sf /dev/null "$root/etc/systemd/system/$unit"
done < "$stage/units.mask"
mkdir -p "$root/etc/systemd/system-generators"
while read -r generator; do
  ln -sf /dev/null "$root/etc/systemd/system-generators/$generator"
done < "$stage/units.maskGenerators"

# Once here instead of at each start; packages and files of the recipe may name users.
[ -x "$root/usr/bin/systemd-sysusers" ] && chroot "$root" systemd-sysusers

say "building the initrd"
release=$(basename "$root"/lib/modules/*)
chroot "$root" depmod "$release"
chroot "$root" mkinitramfs -o /boot/initrd.img "$release"
cp "$root/boot/vmlinuz-$release" "$root/boot/vmlinuz"

if [ -x "$root/usr/bin/python3" ]; then
  # Bytecode that is trusted unread: Python starts faster, and time stamps that the image changes do no harm.
  say "compiling Python modules"
  find "$root/usr/lib" -name __pycache__ -prune -exec rm -rf {} +
  chroot "$root" python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /usr/lib/python3 /usr/lib/python3.* || :
fi

say "removing what belongs to one machine or to the build"
: > "$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed" "$root/etc/hostname"
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
# May hold the build host's proxy and its password.
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
find "$root/var/log" "$root/var/cache/debconf" "$root/var/cache/ldconfig" -type f -exec rm -f {} +
rm -rf "$root"/var/lib/dpkg/*-old "$root"/usr/share/python-wheels
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > "$root/etc/hosts"

{
  echo "kernelRelease=$release"
  echo "debianVersion=$(cat "$root/etc/debian_version")"
  echo "packages=$(chroot "$root" dpkg-query --show | wc -l)"
} > "$root/boot/facts"
