import type { EpochMs } from "./capabilities.ts";

export type EventLevel = "info" | "warning" | "alarm";

/** Names of all events: `<what>.<happened>`. docs/events.md describes them. */
export const eventTypes = {
  "server.started": "The server is up and every listener is bound.",
  "server.stopped": "The server was asked to stop.",
  "machine.discovered": "A machine that nobody knew asked for a boot file.",
  "machine.added": "A machine was added by a person.",
  "machine.accepted": "A discovered machine was accepted.",
  "machine.edited": "Facts of a machine were changed by a person.",
  "machine.uuid-shared": "A machine says the same UUID of itself as another one; MACs tell them apart.",
  "machine.hardware": "What was found in a machine differs from what was there before.",
  "machine.removed": "A machine was removed.",
  "machine.phase": "A machine went from one phase to another.",
  "machine.failed": "A machine reported that its boot failed.",
  "machine.log": "A machine sent lines of its log.",
  "machine.power": "A machine was switched on, off or restarted, or could not be.",
  "machine.command":
    "A person ran a command on a machine by SSH, or tried to: which program, and how it ended; never the rest of its words.",
  "machine.power-settings": "How a machine's power is ruled was set or removed by a person.",
  "machine.host-key":
    "Somebody answers at a machine's address, or reports for its boot, with another SSH host key than the machine told.",
  "group.added": "A group was added.",
  "group.edited": "What a group is or how its machines boot was changed by a person.",
  "group.removed": "A group was removed.",
  "assignment.set": "A role or script was assigned to a machine or group.",
  "assignment.released": "An assignment was taken back.",
  "assignment.undone": "The last change of assignments was taken back.",
  "assignment.used": "An assignment for one boot was used up by the machine's callback.",
  "schedule.added": "A schedule of assignments was added by a person.",
  "schedule.removed": "A schedule of assignments was removed by a person.",
  "schedule.fired": "A schedule assigned at its time.",
  "schedule.missed": "The time of a schedule passed while the server was off, more than an hour ago.",
  "schedule.failed": "A schedule could not assign at its time: its role or machines are gone or unfit.",
  "boot.started": "A boot attempt began.",
  "boot.step": "A machine passed a station of its boot; told live only, the boot's timeline keeps it.",
  "boot.ended": "A boot attempt ended.",
  "script.failed": "A machine got a script that prints an error, since its own could not be made.",
  "config.failed": "A machine asked for a config that can't be made, or that its Ignition is too old for.",
  "claim.refused": "Somebody showed a claim that is not theirs, too old or used up.",
  "mac.unverified": "An address asked for a script, and nothing shows that it is that machine.",
  "mac.contradicted": "An address asked for the script of a MAC that is not its own.",
  "menu.picked": "A role was chosen from a machine's menu, at its keyboard or by the menu's time limit.",
  "boot.strategy":
    "A machine got nowhere with how it was told its boot file, and is told in another way from now on.",
  "boot.driver":
    "A machine loaded its first-stage program and it was not heard of again, twice: it gets the one with another network driver from now on.",
  "tftp.fallback":
    "A machine's TFTP transfer died on the way, and it gets smaller blocks and windows from now on.",
  "boot.offers-ignored":
    "A machine takes neither the other server's address nor our boot file: its firmware does not put two offers together.",
  "dhcp.conflict":
    "An address of a pool is used by another host: a client declined it, or a probe was answered.",
  "dhcp.exhausted": "No address of a pool is free for a machine that asked.",
  "dhcp.other-server":
    "Another DHCP server is on the network; an alarm where this server gives the addresses.",
  "dhcp.no-server": "Machines ask for addresses in proxy mode, and no other DHCP server gives any.",
  "image.added": "An image was put into the store.",
  "image.removed": "An image was removed.",
  "image.switched": "Another version of an image is the one that machines boot.",
  "registry.pushed": "A tag of the registry leads to what was pushed.",
  "registry.deleted": "A tag or manifest was deleted from the registry.",
  "signer.added": "A signer of images, or another key or scope of one, was added by a person.",
  "signer.revoked": "A signer was revoked by a person: its signatures count no more.",
  "signer.removed": "A signer was removed by a person.",
  "signature.added": "A signature of an image was verified and put into the store.",
  "signature.refused": "A signature of an image was refused.",
  "image.unsigned-pull":
    "Somebody asked for an image that is not signed, in a repository whose images should be.",
  "signature.removed": "A signature of an image was removed.",
  "registry.collected": "Manifests and blobs of the registry that nobody needs were removed.",
  "registry.damaged":
    "Content of the registry is lost or was changed on the disk; nobody gets it until it is pushed again.",
  "assets.collected": "Content that no image names any more was removed.",
  "assets.over-limit": "The assets take more than assets.maxBytes, and all of them are needed.",
  "node.claimed": "A machine called back to join the cluster.",
  "node.state": "A machine took a step on its way into the cluster, or out of it.",
  "node.request-denied":
    "Somebody with a machine's bootstrap token asked for a certificate that this machine may not have.",
  "master.armed": "A master was allowed to join by a person.",
  "cluster.state": "The cluster began, came up, went down or was taken back to nothing.",
  "cluster.problem": "The server could not do what the cluster needs; it goes on trying.",
  "cluster.objects": "The cluster got objects that the administrator declared.",
  "cluster.object-refused":
    "A declared object, or a file of them, is wrong or was refused by the API server, or their directory can't be read; the others are applied, and it is tried again.",
  "student.created":
    "A student was created by a person; the cluster gets the student's namespace when it is up.",
  "student.deleted": "A student was deleted, and nothing of theirs is left in the cluster.",
  "student.token": "A student's token was handed out, which the cluster takes for a limited time.",
  "student.problem":
    "The cluster could not be given what a student is to have, or not rid of it; it is tried again.",
  "etcd.started": "The etcd that this server runs is healthy.",
  "etcd.ended": "The etcd that this server runs ended by itself; it is started again.",
  "etcd.unhealthy": "The etcd that this server runs is there and does not answer as it should.",
  "etcd.generation": "The cluster's etcd has other data: empty ones, ones from a snapshot, or those before.",
  "etcd.snapshot-failed": "A snapshot of etcd could not be taken.",
  "etcd.member-removed": "A member of etcd whose data are gone, or whose machine leaves, was removed.",
  "etcd.member-added": "A member of etcd was added as a learner, which does not vote yet.",
  "etcd.member-promoted": "A learner of etcd has caught up and votes.",
  "operation.started": "Long work on machines was begun by a person.",
  "operation.step": "A machine took a step of an operation; told live only, `boot operation show` keeps it.",
  "operation.failed": "A machine did not get through an operation.",
  "operation.ended": "Long work on machines ended, or was cancelled.",
  "exam.started":
    "An exam began in a room: its machines boot one role, and nothing of them is changed until it ends.",
  "exam.ended": "An exam ended, by its time or by a person.",
  "exam.refused": "Somebody wanted to change machines of a room that has an exam.",
  "api.changed": "Somebody did something by the API that has no event of its own.",
  "token.failures": "An address showed so many wrong tokens or passwords that it has to wait.",
  "session.started": "Somebody signed in to the dashboard.",
  "session.ended": "Somebody signed out of the dashboard.",
  "session.refused":
    "Somebody could not sign in to the dashboard, or a page of another site asked for something in the name of somebody who is.",
  "session.link": "A link was made that signs in to the dashboard once.",
  "token.created": "An API token was made.",
  "token.revoked": "An API token was revoked.",
} as const satisfies Record<string, string>;
export type EventType = keyof typeof eventTypes;

/** Something that happened: never changed; the oldest are let go when there are very many. */
export interface Event {
  readonly seq: number;
  readonly at: EpochMs;
  readonly type: EventType;
  readonly level: EventLevel;
  readonly machineId: string | undefined;
  readonly bootId: string | undefined;
  /** Who did it: name of a token, `local`, or undefined for the machine or the server itself. */
  readonly actor: string | undefined;
  /** One sentence for people. */
  readonly message: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export type NewEvent = Pick<Event, "type" | "message"> &
  Partial<Pick<Event, "level" | "machineId" | "bootId" | "actor" | "data">>;

export type RecordEvent = (event: NewEvent) => void;
