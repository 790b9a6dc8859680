/**
 * Codes that do not come from the error catalogue: what machines report of their own boot, what the `boot` command says of work on
 * the machine it runs on, and what `boot role lint` says of roles. Each with what to do; docs/errors.md is made from it, and
 * `boot machine show` prints it behind a failed boot.
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

/** The faults of roles. */
export const roleFaultCodes = {
  ARGUMENT_INVALID:
    "iPXE passes a kernel argument on as one word: write each as an item of its own, without blanks, quotes, $, # and braces.",
  BUTANE_INVALID:
    "Correct the named key; docs/ignition.md lists the variants and what is not translated, coreos.github.io/butane/specs describes every key.",
  CLOUD_INIT_INVALID:
    "Correct the document so that cloud-init reads it: user-data begins with #cloud-config, #! or another of its headers, the rest is YAML.",
  IGNITION_INVALID:
    "Correct the named key; coreos.github.io/ignition/specs describes every key of each version.",
  ROLE_DOCUMENT_MISSING:
    "Put the named file beside role.yaml, or correct its name; a file elsewhere is not read.",
  ROLE_FILE_MISSING: "A role is a folder with a role.yaml in it; docs/roles.md has an example.",
  ROLE_KEYS_CONFLICT:
    "Take one of the two keys away, or add the one that is missing; the sentence names both.",
  ROLE_KEY_MISSING: "Add the named key; docs/roles.md has an example.",
  ROLE_KEY_UNKNOWN: "Correct the spelling of the key; the sentence names all that are known.",
  ROLE_NAME_INVALID: "Rename the folder: lower-case letters, digits and hyphens, at most 40.",
  ROLE_PARENT_BROKEN: "Correct the faults of the role that is named under `extends` first.",
  ROLE_PARENT_LOOP: "Take one `extends` of the named roles away.",
  ROLE_PARENT_MISSING: "Name a role that is there: `boot role list` shows all of them.",
  ROLE_VALUE_INVALID: "Correct the value; the sentence says what is allowed.",
  ROLE_YAML_INVALID:
    "Correct the YAML at the named place; most often it is indentation, a tab or a missing quote.",
  SCRIPT_INVALID: "Correct the iPXE script so that its first line is #!ipxe.",
  TEMPLATE_INVALID: "Correct the template; templates/README.md lists every name, helper and block.",
} as const satisfies Readonly<Record<string, string>>;
export type RoleFaultCode = keyof typeof roleFaultCodes;
