import type { NodeReport } from "../domain/cluster-node.ts";
import { InvalidRequest } from "../domain/error-catalogue.ts";

/** The fields of an agent's claim, as it sends them: strings of a machine that is not trusted. */
export type ClaimFields = Readonly<Record<string, string>>;

const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Reads what an agent says of its machine. @throws InvalidRequest naming the field */
export function readNodeReport(fields: ClaimFields): NodeReport {
  const refuse = (name: string, form: string) =>
    InvalidRequest({ problem: `the claim's field ${name} must be ${form}` });
  const text = (name: string, form: RegExp, what: string) => {
    const value = Object.hasOwn(fields, name) ? fields[name] : undefined;
    if (value === undefined || !form.test(value)) throw refuse(name, what);
    return value;
  };
  const count = (name: string) => Number(text(name, /^[0-9]{1,12}$/, "a number"));
  const uuid = (Object.hasOwn(fields, "uuid") ? (fields["uuid"] ?? "") : "").toLowerCase();
  if (uuid !== "" && !uuidForm.test(uuid)) throw refuse("uuid", "a UUID, or empty");
  return {
    kernelBootId: text("bootId", uuidForm, "the kernel's boot id, a UUID in lower case"),
    uuid: uuid === "" ? undefined : uuid,
    memoryKiB: count("memoryKiB"),
    processors: count("processors"),
    kernel: text("kernel", /^[\w.+~-]{1,64}$/, "the kernel's release"),
    controllers: text("controllers", /^([a-z]{1,16}( |$)){0,16}$/, "names of cgroup controllers")
      .split(" ")
      .filter((word) => word !== ""),
    subordinateIds: count("subuids"),
    runtime: text("runtime", /^(containerd|crio)$/, "containerd or crio") as NodeReport["runtime"],
  };
}

const neededControllers = ["cpu", "memory", "pids"];
const neededIds = 65_536;

/** Why a machine can't be a rootless node, in a sentence for the one who mends it; undefined: it can. */
export function nodeMisfit({ controllers, subordinateIds }: NodeReport): string | undefined {
  const missing = neededControllers.filter((name) => !controllers.includes(name));
  if (missing.length > 0)
    return `its user was not given the cgroup v2 controllers ${missing.join(", ")}: the image needs cgroup v2 (systemd.unified_cgroup_hierarchy=1) and the node's delegate.conf`;
  if (subordinateIds < neededIds)
    return `its user may give away ${subordinateIds} ids, and a node needs ${neededIds}: /etc/subuid and /etc/subgid`;
  return undefined;
}

/** A UUID with the first three parts in the other byte order: SMBIOS before 2.6 and some firmware disagree about it. */
function otherByteOrder(uuid: string): string {
  const turned = (part: string) => (part.match(/../g) ?? []).toReversed().join("");
  const [first = "", second = "", third = "", ...rest] = uuid.split("-");
  return [turned(first), turned(second), turned(third), ...rest].join("-");
}

/** Is that the machine whose UUID its firmware told before? What neither knows contradicts nothing. */
export function isSameMachine(known: string | undefined, told: string | undefined): boolean {
  if (known === undefined || told === undefined) return true;
  const lower = known.toLowerCase();
  return told === lower || told === otherByteOrder(lower);
}
