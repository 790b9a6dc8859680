/**
 * Codes that do not come from the error catalogue: what machines report of their own boot, and what the `boot` command says of work on
 * the machine it runs on. Each with what to do; docs/errors.md is made from it, and `boot machine show` prints it behind a failed boot.
 */
export const machineCodes: Readonly<Record<string, string>> = {
  BOOT_ARGUMENTS_INVALID:
    "The kernel was started without the arguments that our initramfs needs: boot it by a role with `boot: image`; a script of your own has to pass on what `boot preview MACHINE` shows.",
  RAM_TOO_SMALL:
    "The image does not fit into the machine's memory beside the system: give it more RAM, or a role with a smaller image; `minimumRam` in role.yaml says so before it boots.",
  ROOTFS_DIGEST_MISMATCH:
    "The root image arrived other than the store has it, and the machine fetches it again. If it stays so, import the image again (`boot image import DIR`), then look for a proxy or a bad cable on the way.",
  ROOTFS_MOUNT_FAILED:
    "The root image is whole and no squashfs that this kernel can mount: build it anew with `boot image build`, and keep kernel, initrd and root of one build together.",
  ROOTFS_REFUSED:
    "The server no longer has this image, or the boot's claim has ended. The machine starts over with a fresh script by itself; `boot image list` shows what there is.",
  ROOTFS_UNAVAILABLE:
    "The machine can't reach the server over HTTP, and tries on: look whether the server runs, and whether a firewall or cable is between the two.",
};

export const commandCodes: Readonly<Record<string, string>> = {
  DEMO_UNAVAILABLE:
    "`boot demo` names what it lacks: root, Debian packages, free memory, or the end of another demo.",
  IMAGE_BUILD_CANCELLED: "The build was interrupted and nothing was changed; start it again when you like.",
  IMAGE_BUILD_FAILED:
    "Read the lines that the failing program printed: most often the mirror is out of reach, a package has another name, or the disk is full.",
  IMAGE_DISK_TOO_SMALL: "Free space in the directory that is named, or name another one with --to DIR.",
  IMAGE_OUTPUT_NOT_WRITABLE: "Name a directory that you may write to with --to DIR.",
  IMAGE_RECIPE_INVALID: "Correct the named key of recipe.yaml; docs/images.md has an example.",
  IMAGE_TOOL_MISSING: "Install the Debian packages that the error names (mmdebstrap, squashfs-tools).",
};
