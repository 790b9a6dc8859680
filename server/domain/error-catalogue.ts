import { formatSize, formatUse, unitsOf } from "./byte-size.ts";
import { defineError } from "./errors.ts";

export * from "./errors-at-start.ts";
export * from "./errors-of-access.ts";
export * from "./errors-of-etcd.ts";
export * from "./errors-of-inventory.ts";
export * from "./errors-of-joining.ts";
export * from "./errors-of-schedules.ts";
export * from "./errors-of-kubernetes.ts";
export * from "./errors-of-operations.ts";
export * from "./errors-of-power.ts";
export * from "./errors-of-registry.ts";
export * from "./errors-of-signatures.ts";
export * from "./errors-of-students.ts";

/** RAM and disks by one unit, so that the two numbers of a sentence are seen to differ. */
const inMebibytes = (bytes: number) => `${Math.ceil(bytes / 1024 ** 2)} MiB`;

// --- what people ask for ----------------------------------------------------------------------------------------
export const MachineNotFound = defineError("MACHINE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { name: string }) => `no machine is called ${d.name} or has that MAC`,
  advice: "`boot machine list` shows all of them.",
});
export const MachineNameTaken = defineError("MACHINE_NAME_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { name: string }) => `there is a machine called ${d.name} already`,
  advice: "Choose another name, or change that machine with `boot machine edit`.",
});
export const MacTaken = defineError("MAC_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { mac: string; machine: string; advice?: string }) =>
    `${d.mac} belongs to the machine ${d.machine} already`,
  advice:
    "Take it from that machine first: `boot machine edit MACHINE --mac` with the MACs that it keeps; one that keeps none is removed or renamed.",
});
export const AddressTaken = defineError("ADDRESS_TAKEN", {
  kind: "user",
  httpStatus: 409,
  message: (d: { address: string; machine: string }) =>
    `${d.address} is reserved for the machine ${d.machine} already`,
  advice: "Choose another address, or change that machine's with `boot machine edit`.",
});
export const InvalidMac = defineError("INVALID_MAC", {
  kind: "user",
  httpStatus: 400,
  message: (d: { text: string }) => `${JSON.stringify(d.text.slice(0, 60))} is not a MAC address`,
  advice: "Write it as 52:54:00:00:00:01 or 52-54-00-00-00-01.",
});
export const InvalidRequest = defineError("INVALID_REQUEST", {
  kind: "user",
  httpStatus: 400,
  message: (d: { problem: string; /** For this slip, in place of the one below. */ advice?: string }) =>
    d.problem,
  advice: "The API and its types are described at /api/docs.",
});
export const InvalidHostSet = defineError("INVALID_HOST_SET", {
  kind: "user",
  httpStatus: 400,
  message: (d: { part: string; reason: string }) =>
    `host set: ${JSON.stringify(d.part.slice(0, 60))}: ${d.reason}`,
  advice:
    "A host set is names, ranges (s[4-9]), MACs, groups or label=value, joined by commas; -name leaves one out. Commands: boot --help.",
});
export const RoleNotFound = defineError("ROLE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { role: string; known: string[] }) =>
    `there is no role ${d.role}; there are: ${d.known.join(", ") || "none"}`,
  advice:
    "`boot role list` shows all of them; a role of your own is a folder in the directory named by `rolesDir`.",
});
export const RoleInvalid = defineError("ROLE_INVALID", {
  kind: "user",
  httpStatus: 422,
  message: (d: { role: string; problem: string }) => `the role ${d.role} is broken: ${d.problem}`,
  advice: "`boot role lint` names the file and line of every fault.",
});
export const GroupNotFound = defineError("GROUP_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { group: string }) => `there is no group ${d.group}`,
  advice: "`boot group list` shows all of them.",
});
export const NothingToUndo = defineError("NOTHING_TO_UNDO", {
  kind: "user",
  httpStatus: 409,
  message: () => "there is no change of assignments left to take back",
  advice:
    "What was assigned since, used up by a boot, or removed can't be taken back; `boot events --type assignment` tells what was changed and by whom.",
});
export const OnceNeverUsedUp = defineError("ONCE_NEVER_USED_UP", {
  kind: "user",
  httpStatus: 400,
  message: (d: { role: string }) =>
    `${d.role} makes a machine wait, and a wait is never over: it can't be assigned for one boot`,
  advice:
    "Assign it without `--once`; `boot release MACHINES` takes it back, and whoever waits boots the moment another role is assigned.",
});
export const ParameterInvalid = defineError("PARAMETER_INVALID", {
  kind: "user",
  httpStatus: 400,
  message: (d: { role: string; parameter: string; problem: string }) =>
    `parameter ${d.parameter} of role ${d.role}: ${d.problem}`,
  advice:
    "Write it as `--param name=value`, and a list of texts as one --param for each of them; `boot role show ROLE` shows an example for each parameter.",
});
export const BootNotFound = defineError("BOOT_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { id: string }) => `there is no boot ${d.id}`,
  advice: "`boot machine show NAME` lists the last boots of a machine.",
});
export const ImageNotFound = defineError("IMAGE_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { image: string; advice?: string }) => `there is no image ${d.image} in the store`,
  advice:
    "Build our own with `boot image build`, bring one that `boot image known` lists by its name (`boot image import flatcar`), or any with `boot image import DIR`.",
});
export const ArchMismatch = defineError("ARCH_MISMATCH", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string; arch: string; what: string; madeFor: readonly string[] }) =>
    `${d.machine} is an ${d.arch} machine, and the ${d.what} is made for ${d.madeFor.join(", ")}`,
  advice:
    "Give the machine a role whose image is made for its architecture (`boot image list` shows it), or build such an image: `architecture` in recipe.yaml.",
});
export const MachineTooSmall = defineError("MACHINE_TOO_SMALL", {
  kind: "user",
  httpStatus: 409,
  message: (d: {
    machine: string;
    /** `the role worker`, `the image kiosk 1` */
    what: string;
    ramBytes: number;
    neededBytes: number;
    /** That would do, if there is one. */
    smallerRole?: string;
    advice?: string;
  }) =>
    `${d.machine} has ${inMebibytes(d.ramBytes)} of RAM, and ${d.what} needs ${inMebibytes(d.neededBytes)}`,
  advice:
    "Give it more RAM or another role (`boot role list`); if it would do, correct `minimumRam` in role.yaml, or let this machine try: `boot machine edit MACHINE --ram-check ignore`.",
});
export const NoPreviousVersion = defineError("NO_PREVIOUS_VERSION", {
  kind: "user",
  httpStatus: 409,
  message: (d: { image: string }) => `the image ${d.image} has no version that was booted before this one`,
  advice: "`boot image list` shows its versions; choose one with `boot image use IMAGE VERSION`.",
});
export const ImageInvalid = defineError("IMAGE_INVALID", {
  kind: "user",
  httpStatus: 400,
  message: (d: { file: string; problem: string }) => `${d.file}: ${d.problem}`,
  advice:
    "An image is a directory with image.json and the files it names, as `boot image build --to DIR` makes it; docs/images.md describes it. `boot image verify DIR` checks all of them.",
});
export const ImageInUse = defineError("IMAGE_IN_USE", {
  kind: "user",
  httpStatus: 409,
  message: (d: { image: string; versions: readonly { version: string; machines: readonly string[] }[] }) =>
    `machines are booting the image ${d.image}: ${d.versions
      .map(({ version, machines }) => `version ${version} by ${machines.join(", ")}`)
      .join("; ")}`,
  advice:
    "Wait until they are ready, or switch them off; the rest can be removed one by one: `boot image remove IMAGE VERSION`.",
});
export const ImageNeeded = defineError("IMAGE_NEEDED", {
  kind: "user",
  httpStatus: 409,
  message: (d: { image: string; roles: readonly string[]; machines: number }) =>
    `no version of the image ${d.image} would be left, and it is what ${d.roles.join(", ")} boot${d.roles.length === 1 ? "s" : ""}${
      d.machines === 0 ? "" : `: the role of ${d.machines} machine${d.machines === 1 ? "" : "s"}`
    }`,
  advice:
    "To free the disk, remove old versions one by one: `boot image remove IMAGE VERSION`. If these roles are to boot no more, `boot image remove IMAGE --force` (over the API `force=true`).",
});
export const UploadRejected = defineError("UPLOAD_REJECTED", {
  kind: "user",
  httpStatus: 400,
  message: (d: { problem: string }) => `the upload was refused: ${d.problem}`,
  advice: "Send the file again; nothing of it was kept.",
});
export const DiskFull = defineError("DISK_FULL", {
  kind: "operational",
  httpStatus: 507,
  message: (d: { neededBytes: number; freeBytes: number; path: string }) =>
    `the disk under ${d.path} has ${inMebibytes(d.freeBytes)} free and ${inMebibytes(d.neededBytes)} are needed`,
  advice:
    "Remove images that nobody uses (`boot image list`, `boot image remove`), or move dataDir to a larger disk.",
});

export const AssetBudgetExceeded = defineError("ASSET_BUDGET_EXCEEDED", {
  kind: "operational",
  httpStatus: 507,
  message: (d: { neededBytes: number; usedBytes: number; maxBytes: number }) =>
    `${formatSize(d.neededBytes, unitsOf(d.maxBytes))} more do not fit: ${formatUse(d.usedBytes, d.maxBytes)} are taken by images that are current, kept to go back to, or being booted`,
  advice:
    "Remove images that nobody needs (`boot image list`, `boot image remove`), keep fewer versions (`assets.keepVersions`), or allow more (`assets.maxBytes`).",
});

// --- access -----------------------------------------------------------------------------------------------------
export const TokenMissing = defineError("TOKEN_MISSING", {
  kind: "user",
  httpStatus: 401,
  message: () => "this needs an API token",
  advice:
    "Give it with --token TOKEN or ROLLCALL_TOKEN (over HTTP: `Authorization: Bearer TOKEN`), or run the command on the server as the user that runs it.",
});
export const TokenInvalid = defineError("TOKEN_INVALID", {
  kind: "user",
  httpStatus: 401,
  message: (d: { problem?: string; advice?: string }) =>
    d.problem ?? "this API token is unknown, expired or revoked",
  advice: "Make a new one on the server: `boot token create NAME --scope operator`.",
});
export const ScopeMissing = defineError("SCOPE_MISSING", {
  kind: "user",
  httpStatus: 403,
  message: (d: { scope: string; needed: string[] }) =>
    `a token of scope ${d.scope} may not do this; it takes ${d.needed.join(" or ")}`,
  advice: "Ask an administrator for a token with that scope.",
});
export const TokenNotFound = defineError("TOKEN_NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { id: string }) => `there is no token ${d.id}`,
  advice: "`boot token list` shows all of them.",
});

// --- what machines ask for --------------------------------------------------------------------------------------
export const ClaimRefused = defineError("CLAIM_REFUSED", {
  kind: "user",
  httpStatus: 403,
  message: () => "this claim is not valid here",
  advice:
    "Power-cycle the machine: each boot gets a claim of its own. The events tell who asked and why it was refused.",
});
export const MachineMismatch = defineError("MACHINE_MISMATCH", {
  kind: "user",
  httpStatus: 403,
  message: (d: { mac: string; address: string }) =>
    `${d.address} asked for the script of ${d.mac}, and that address belongs to another machine`,
  advice: "If the machine changed its network card, give it the new MAC: `boot machine edit NAME --mac ...`.",
});
export const MachineUnverified = defineError("MACHINE_UNVERIFIED", {
  kind: "user",
  httpStatus: 403,
  message: (d: { mac: string; address: string }) =>
    `nothing shows that ${d.address} is the machine ${d.mac}: no neighbour on a served network, no lease, no DHCP heard of it`,
  advice:
    "Serve the network that it is on (`interfaces`), or let its DHCP relay send to this server too, then switch it off and on.",
});
export const BootNotOpen = defineError("BOOT_NOT_OPEN", {
  kind: "user",
  httpStatus: 403,
  message: (d: { machine: string }) =>
    `${d.machine} is running and was not seen to start anew, so it gets no second script`,
  advice: "Switch it off and on; each power-on gets a script of its own.",
});
export const TemplateFailed = defineError("TEMPLATE_FAILED", {
  kind: "user",
  httpStatus: 422,
  message: (d: { role: string; file: string; problem: string }) =>
    `template ${d.file} of role ${d.role} does not render: ${d.problem}`,
  advice: "`boot role lint` and `boot preview MACHINE KIND` show the fault without a machine.",
});
export const CommandLineTooLong = defineError("COMMAND_LINE_TOO_LONG", {
  kind: "user",
  httpStatus: 422,
  message: (d: { role: string; octets: number; maximum: number }) =>
    `the kernel's command line in role ${d.role} would have ${d.octets} octets, and Linux reads ${d.maximum}`,
  advice:
    "Take kernel arguments out of the role, or write into user-data or Ignition what they say; the server's own arguments have some 600 octets.",
});
export const ConfigNotReady = defineError("CONFIG_NOT_READY", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { machine: string; problem: string }) =>
    `the config of ${d.machine} can't be made now: ${d.problem}`,
  advice: "Correct the role (`boot role lint` names the place); the machine asks again by itself.",
});
export const IgnitionTooNew = defineError("IGNITION_TOO_NEW", {
  kind: "user",
  httpStatus: 422,
  message: (d: { version: string; newest: string }) =>
    `the machine's Ignition reads configs up to ${d.newest}, and that of its role is ${d.version} with keys that need it`,
  advice: "Leave the newer keys out of the role's config, or give the role a newer image.",
});
export const MenuPickRefused = defineError("MENU_PICK_REFUSED", {
  kind: "user",
  httpStatus: 403,
  message: (d: { pick: string; allowed: readonly string[] }) =>
    `${JSON.stringify(d.pick.slice(0, 60))} is not on this machine's menu, which has ${d.allowed.join(", ")}`,
  advice:
    "Choose what the menu lists. To have it list more: `boot MACHINE menu --param roles=NAME`, once for each role.",
});
export const RoleNeedsIpxe = defineError("ROLE_NEEDS_IPXE", {
  kind: "user",
  httpStatus: 409,
  message: (d: { role: string }) =>
    `${d.role} is a script for iPXE, and this machine was started with GRUB, as Secure Boot wants it`,
  advice:
    "Assign a role that boots an image. Or switch Secure Boot off in the machine's firmware setup and start it again; with the driver `shim` chosen for it, choose another: `boot machine edit MACHINE --driver auto`.",
});
export const AssetNotFound = defineError("ASSET_NOT_FOUND", {
  kind: "operational",
  httpStatus: 404,
  message: (d: { sha256: string }) => `there is no content with sha256 ${d.sha256.slice(0, 64)}`,
  advice: "Build or import the image again: `boot image build`, `boot image import DIR`.",
});
export const LocalBootChosen = defineError("LOCAL_BOOT_CHOSEN", {
  kind: "user",
  httpStatus: 404,
  message: (d: { machine: string }) =>
    `${d.machine} goes on with its local disk, so there is nothing to load for it (local boot method http-404)`,
  advice:
    "Nothing is wrong. Where its firmware does not go on with its disk, try another method: `boot machine edit MACHINE --local-boot exit`, or `sanboot`.",
});
export const ContentUnavailable = defineError("CONTENT_UNAVAILABLE", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { sha256: string; reason: string }) =>
    `the content with sha256 ${d.sha256.slice(0, 64)} can't be read now: ${d.reason}`,
  advice:
    "Ask again in a moment. If it stays so, look at the disk and the rights under `blobs` in the data directory; EMFILE means that the service's LimitNOFILE is too low.",
});
export const ServerBusy = defineError("SERVER_BUSY", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { what: string; limit: number }) =>
    `there are ${d.limit} ${d.what} already, and no more are served at once`,
  advice: "Ask again in a few seconds, or end some of those that are under way.",
});
export const HostNotAllowed = defineError("HOST_NOT_ALLOWED", {
  kind: "user",
  httpStatus: 421,
  message: (d: { host: string }) =>
    `this server is not known as ${JSON.stringify(d.host.slice(0, 100))}, and a name that anybody may point here is not trusted`,
  advice: "Use the server's IP address or its host name, or add the name to `http.names` in its config.",
});
export const NotFound = defineError("NOT_FOUND", {
  kind: "user",
  httpStatus: 404,
  message: (d: { path: string }) => `there is nothing at ${d.path.slice(0, 200)}`,
  advice: "The API is described at /api/docs.",
});
export const InternalError = defineError("INTERNAL_ERROR", {
  kind: "bug",
  httpStatus: 500,
  message: (d: { reference: string }) => `something went wrong here; the log has it as ${d.reference}`,
  advice: "Please report it with the lines of the log that carry this reference.",
});
export const ServerUnreachable = defineError("SERVER_UNREACHABLE", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { server: string; reason: string; advice?: string }) =>
    `no server answers at ${d.server} (${d.reason})`,
  advice:
    "Start it with `npm start`, or say where it is: --data DIR for one on this machine, --server URL (or ROLLCALL_SERVER) for another.",
});
export const ServerNotPermitted = defineError("SERVER_NOT_PERMITTED", {
  kind: "operational",
  httpStatus: 503,
  message: (d: { socket: string }) => `permission denied at the server's control socket ${d.socket}`,
  advice:
    "Run the command as root or as the user that runs the server, or use --server URL and --token TOKEN.",
});

// --- the cluster ------------------------------------------------------------------------------------------------
export const NodeFactsInvalid = defineError("NODE_FACTS_INVALID", {
  kind: "user",
  httpStatus: 409,
  message: (d: { machine: string; problems: string[] }) =>
    `${d.machine} can't be a node of the cluster: ${d.problems.join("; ")}`,
  advice:
    "Networks of the cluster (`cluster.podSubnet`, `cluster.serviceSubnet`) hold no address of the machines' own network; a node's name is letters, digits and hyphens: `boot machine edit MACHINE --name NAME`.",
});
export const ClusterInvalid = defineError("CLUSTER_INVALID", {
  kind: "user",
  httpStatus: 422,
  message: (d: { problems: string[] }) => d.problems.join("\n"),
  advice: "Correct the named keys of the cluster.",
});
export const CertificateRequestInvalid = defineError("CERTIFICATE_REQUEST_INVALID", {
  kind: "user",
  httpStatus: 400,
  message: (d: { problem: string }) => `the certificate signing request can't be used: ${d.problem}`,
  advice:
    "Send one PKCS#10 request as PEM, signed with its own key: EC P-256 or P-384, or RSA of 2048 bits and more.",
});
