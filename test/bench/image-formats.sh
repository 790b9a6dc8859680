#!/bin/sh
# Packs the root of an image in several ways and measures each: its size, and how long it takes to mount it out of RAM (as the initramfs
# does) and read every file of it once. As root, with squashfs-tools and erofs-utils:
#   sh test/bench/image-formats.sh pack IMAGE_DIR WORK_DIR    minutes; IMAGE_DIR has root.squashfs
#   sh test/bench/image-formats.sh measure WORK_DIR           under a minute
set -eu

pack() {
  image=$1/root.squashfs work=$2
  mkdir -p "$work"
  [ -d "$work/tree" ] || unsquashfs -q -d "$work/tree" "$image" > /dev/null
  squash() { # NAME COMPRESSION BLOCK_KIB OPTIONS...
    name=$1 compression=$2 block=$3
    shift 3
    mksquashfs "$work/tree" "$work/sq-$name.img" -noappend -no-progress -quiet -comp "$compression" -b "${block}K" "$@" > /dev/null
  }
  squash zstd-3-128 zstd 128 -Xcompression-level 3
  squash zstd-9-128 zstd 128 -Xcompression-level 9
  squash zstd-9-256 zstd 256 -Xcompression-level 9
  squash zstd-15-256 zstd 256 -Xcompression-level 15
  squash zstd-15-1024 zstd 1024 -Xcompression-level 15
  squash zstd-22-256 zstd 256 -Xcompression-level 22
  squash lz4hc-256 lz4 256 -Xhc
  # erofs-utils 1.5 (Debian 12) knows lz4 and lz4hc; zstd came with 1.8.
  mkfs.erofs -zlz4hc,12 "$work/er-lz4hc-4k.img" "$work/tree" > /dev/null 2>&1
  mkfs.erofs -zlz4hc,12 -C65536 "$work/er-lz4hc-64k.img" "$work/tree" > /dev/null 2>&1
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

measure() {
  work=$1
  memory=$(mktemp -d) mounted=$(mktemp -d)
  mount -t tmpfs -o size=400m tmpfs "$memory"
  trap 'umount "$mounted" 2> /dev/null || :; umount "$memory"; rmdir "$memory" "$mounted"' EXIT
  printf '%-16s %8s %10s %10s %12s\n' format MB 'mount ms' 'read ms' 'MB/s read'
  for image in "$work"/*.img; do
    [ -s "$image" ] || continue
    cp "$image" "$memory/root"
    case $image in */er-*) type=erofs ;; *) type=squashfs ;; esac
    best=
    for _ in 1 2; do
      # A fresh mount has nothing cached.
      began=$(milliseconds)
      mount -t "$type" -o loop,ro "$memory/root" "$mounted"
      mount_ms=$(($(milliseconds) - began))
      began=$(milliseconds)
      octets=$(find "$mounted" -xdev -type f -exec cat {} + | wc -c)
      read_ms=$(($(milliseconds) - began))
      umount "$mounted"
      if [ -z "$best" ] || [ "$read_ms" -lt "$best" ]; then best=$read_ms best_mount=$mount_ms; fi
    done
    printf '%-16s %8s %10s %10s %12s\n' "$(basename "$image" .img)" "$(($(stat -c %s "$image") / 1000000))" \
      "$best_mount" "$best" "$((octets / 1000 / best))"
  done
}

case ${1:-} in
  pack) pack "$2" "$3" ;;
  measure) measure "$2" ;;
  *) sed -n '2,6p' "$0" && exit 2 ;;
esac
