/**
 * Codes that do not come from the error catalogue: what machines report of their own boot, what the `boot` command says of work on
 * the machine it runs on, and what `boot role lint` says of roles. Each with what to do; docs/errors.md is made from it, and
 * `boot machine show` prints it behind a failed boot.
 */
export const machineCodes: Readonly<Record<string, string>> = {
  BOOT_ARGUMENTS_INVALID:
    "The kernel was started without the arguments that our initramfs needs: boot it by a role with `boot: image`; a script of your own has to pass on what `boot preview MACHINE` shows.",
  IGNITION_FAILED:
    "The machine's Ignition could not do what the role's config says; the report names the stage and its reason, and `boot events` has its log. Correct the role: the machine starts over by itself.",
  NODE_FILES_FAILED:
    "What makes the machine a node of the cluster did not fit into its root: most often its RAM is full. The machine starts over by itself.",
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
  ARCHIVE_DAMAGED:
    "The archive is not whole, or is none: copy or make it again, and compare its sha256sum with the original's.",
  ARCHIVE_DIGEST_MISMATCH:
    "A blob of the archive or the registry is not what its digest says, and was not taken: copy or make the archive again.",
  ARCHIVE_DISK_TOO_SMALL:
    "A compressed archive is unpacked into one file in TMPDIR (/var/tmp): free space there, or name another directory by it.",
  ARCHIVE_NAME_INVALID:
    "Write an image like p10/kube-apiserver:v1.26.9. An archive that does not name its one image: `boot image import FILE --as NAME:TAG`.",
  ARCHIVE_NOT_READABLE: "Look at the path that is named, and at who may read it.",
  ARCHIVE_NOT_WRITABLE:
    "Name another file or directory with --to; an archive's name ends in .tar.xz, .tar.gz or .tar.",
  ARCHIVE_PLATFORM_MISSING:
    "The registry has this image for other architectures: name one with --arch, or import the archive of yours first.",
  ARCHIVE_PLATFORM_TWICE:
    "Two of the archives have other images for the same name and architecture: import one of them, or one after the other.",
  ARCHIVE_REFUSED:
    "The archive has names or links that lead out of it, or devices: no tool for images makes such ones. Look at where it comes from.",
  ARCHIVE_TOO_LARGE: "Nothing of an image set is so large: look at where the archive comes from.",
  ARCHIVE_TOOL_MISSING: "Install the Debian package that is named (xz-utils, gpg), or use a .tar or .tar.gz.",
  ARCHIVE_UNKNOWN:
    "Container images come as podsec-save-oci, `docker save`, `podman save` or `skopeo copy ... oci-archive:FILE` make them; what machines boot as a directory with image.json or a name of `boot image known`.",
  DEMO_UNAVAILABLE:
    "`boot demo` names what it lacks: root, Debian packages, free memory, or the end of another demo.",
  IMAGE_BUILD_CANCELLED: "The build was interrupted and nothing was changed; start it again when you like.",
  IMAGE_BUILD_FAILED:
    "Read the lines that the failing program printed: most often the mirror is out of reach, a package has another name, or the disk is full.",
  IMAGE_DISK_TOO_SMALL: "Free space in the directory that is named, or name another one with --to DIR.",
  IMAGE_OUTPUT_NOT_WRITABLE: "Name a directory that you may write to with --to DIR.",
  IMAGE_RECIPE_INVALID: "Correct the named key of recipe.yaml; docs/images.md has an example.",
  IMAGE_TOOL_MISSING: "Install the Debian packages that the error names (mmdebstrap, squashfs-tools).",
  IMAGE_ARCHIVE_INVALID:
    "What the catalogue looks for is not in the archive: unpack it by hand and give the files with --kernel, --initrd and --root.",
  IMAGE_CATALOGUE_INVALID: "Correct the named key; server/image/import/catalogue.yaml describes all of them.",
  IMAGE_DIGESTS_INVALID:
    "The list has no SHA-256 or SHA-512 of the file: look whether it is the list of this release, or give a digest with --digest.",
  IMAGE_DIGEST_MISMATCH:
    "The file is not the one that was announced, and nothing of it was kept: try another mirror, or later, when file and list are of one release.",
  IMAGE_DOWNLOAD_CUT:
    "The line or the server breaks off again and again. Give the same command again: it goes on where it ended.",
  IMAGE_FILE_MISMATCH:
    "A program or a container image for the image has another SHA-256 than the recipe (or SHA256SUMS) says: look at where it comes from; if it is the right one, correct the digest.",
  IMAGE_FILE_MISSING:
    "A program or a container image that the recipe (or SHA256SUMS) names can't be read: put it there, or take it out of the recipe.",
  IMAGE_IMPORT_BUSY:
    "Another import of this image is under way: wait for its end, or name another directory with --to DIR.",
  IMAGE_IMPORT_CANCELLED: "The import was interrupted; the same command goes on where it ended.",
  IMAGE_INDEX_INVALID:
    "The publisher changed its index: give the files by hand with --kernel, --initrd, --root and --digest.",
  IMAGE_SIGNATURE_INVALID:
    "The file is not signed by a key of the keyring: do not use it unless you know why.",
  IMAGE_SOURCE_NOT_FOUND:
    "The address or file is not there: look for a newer version; `boot image known` shows where each image is looked for.",
  IMAGE_SOURCE_REFUSED:
    "The server does not give the file, or leads from https to http: fetch it by hand, and import it from the disk.",
  IMAGE_SOURCE_TOO_LARGE:
    "No file of an image has so many octets: look whether the address is the right one.",
  IMAGE_SOURCE_UNREACHABLE:
    "Look whether this machine may go out to the network; behind a proxy set https_proxy. On another machine: `boot image import NAME --to DIR`, then `boot image import DIR` here.",
  IMAGE_UNKNOWN:
    "`boot image known` lists the images that can be imported by name; all others take a directory, or --kernel and --initrd.",
  IMAGE_UNVERIFIED:
    "Nothing tells what the file must be: give its digest with --digest FILE=SHA256 or --digests URL; --unverified takes it as it comes.",
  SIGN_FAILED:
    "gpg could not sign with this key: look whether it may sign and has not expired (gpg --list-secret-keys).",
  SIGN_KEY_INVALID:
    "Name one private key, --key FILE or --gpg USER, and its passphrase with --passphrase-file FILE where nobody can type it.",
  SIGN_UNSUPPORTED:
    "This registry takes no signatures from clients: write them for a lookaside server with --to DIR (podsec's lies in /var/sigstore/sigstore).",
  TRANSFER_ADDRESS_UNKNOWN:
    "Name the registry: --registry HOST[:PORT], or http://HOST:PORT where it speaks plain HTTP.",
  TRANSFER_CANCELLED: "What was sent is kept: the same command goes on where this one ended.",
  TRANSFER_NOT_FOUND: "Look at the name and tag of the image, and at the registry's address.",
  TRANSFER_REFUSED: "The registry's answer says why; its log has more.",
  TRANSFER_UNAUTHORIZED:
    "Name a token with the scope imagemaker (`boot token create NAME --scope imagemaker`) with --token; for another registry log in by `podman login` or `skopeo login` first.",
  TRANSFER_UNREACHABLE:
    "Look whether the registry runs, and at firewalls between; write http:// where it speaks plain HTTP, --registry-ca FILE for an authority of its own. The same command goes on where this one ended.",
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
  SCRIPT_COMMAND_UNKNOWN:
    "A warning: correct the spelling; ipxe.org/cmd lists all commands. An iPXE that lacks a command goes on behind `||`.",
  SCRIPT_INVALID:
    "Correct the iPXE script: its first line is #!ipxe, and each label that it jumps to stands in it.",
  SCRIPT_LINE_UNGUARDED:
    "A warning: say what the machine does when this line fails, as templates/README.md shows; without that the script ends and the firmware goes on in silence.",
  TEMPLATE_INVALID: "Correct the template; templates/README.md lists every name, helper and block.",
} as const satisfies Readonly<Record<string, string>>;
export type RoleFaultCode = keyof typeof roleFaultCodes;

/** What `boot role lint` tells and what is no reason to leave a role out. */
export function isRoleWarning(code: RoleFaultCode): boolean {
  return code === "SCRIPT_COMMAND_UNKNOWN" || code === "SCRIPT_LINE_UNGUARDED";
}
