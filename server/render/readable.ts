import type { DocumentKind } from "../domain/role.ts";
import type { RoleFaultCode } from "../domain/reported-codes.ts";
import { readYaml } from "../yaml/read-yaml.ts";
import { DocumentFault, DocumentFaults } from "./document-fault.ts";

/** How user-data may begin, and the type of such a part (cloud-init docs, "User data formats"). */
const cloudInitTypes: readonly (readonly [header: string, type: string])[] = [
  ["#cloud-config-archive", "text/cloud-config-archive"],
  ["#cloud-config", "text/cloud-config"],
  ["#cloud-boothook", "text/cloud-boothook"],
  ["#include-once", "text/x-include-once-url"],
  ["#include", "text/x-include-url"],
  ["#part-handler", "text/part-handler"],
  ["#!", "text/x-shellscript"],
  ["## template: jinja", "text/jinja2"],
];
const multipartHeaders = /^(content-type: multipart\/|mime-version: )/i;

/** Mail with several parts, as `cloud-init devel make-mime` writes it. */
export const isMultipart = (text: string) => multipartHeaders.test(text);

/** The MIME type of a cloud-init document, by its first line; undefined: cloud-init would take it for plain text and ignore it. */
export function cloudInitType(text: string): string | undefined {
  return cloudInitTypes.find(([header]) => text.startsWith(header))?.[1];
}

/** Nothing but comments: what is left of a template whose blocks all stayed out. */
export function isEmptyYaml(text: string): boolean {
  return text.split("\n").every((line) => /^\s*(#|$)/.test(line));
}

export interface Origin {
  /** It was made from a template: then user-data is cloud-config, which is what templates quote for. */
  readonly isRendered: boolean;
}

/** @throws DocumentFault, DocumentFaults when the reader of this document would refuse it; Ignition has readers of its own */
export function refuseUnreadable(
  kind: Exclude<DocumentKind, "ignition">,
  text: string,
  { isRendered }: Origin,
): void {
  const code: RoleFaultCode = kind === "ipxe" ? "SCRIPT_INVALID" : "CLOUD_INIT_INVALID";
  const top = { line: 1, column: 1 };
  const fault = (sentence: string, at = top) => new DocumentFault(code, sentence, { at });
  if (kind === "ipxe") {
    if (!text.startsWith("#!ipxe\n")) throw fault("the first line must be #!ipxe");
    return;
  }
  if (kind === "user-data" || kind === "vendor-data") {
    if (isRendered && !text.startsWith("#cloud-config\n"))
      throw fault("the first line must be #cloud-config");
    // Vendor-data becomes a part beside the server's own.
    const mayBeMail = kind === "user-data" && isMultipart(text);
    if (!isRendered && !cloudInitType(text) && !mayBeMail)
      throw fault(
        `the first line must be one that cloud-init knows: ${cloudInitTypes.map(([header]) => header).join(", ")}`,
      );
    // Only a cloud-config is YAML by itself; the others are scripts, addresses and mail.
    if (!isRendered && cloudInitType(text) !== "text/cloud-config") return;
  }
  const yaml = readYaml(text);
  if (yaml.problems.length > 0)
    throw new DocumentFaults(
      yaml.problems.map((problem) => new DocumentFault(code, problem.message, { at: problem, isRendered })),
    );
  const value = yaml.value ?? {};
  if (typeof value !== "object" || Array.isArray(value))
    throw fault("the document must be a mapping of keys");
  const keys = value as Readonly<Record<string, unknown>>;
  if (kind === "meta-data" && typeof keys["instance-id"] !== "string")
    throw new DocumentFault(code, "instance-id is missing");
  if (kind === "network-config") {
    // Version 1 and 2 may stand under a key `network`, as in the network files of cloud-init itself.
    const network = (keys["network"] ?? keys) as Readonly<Record<string, unknown>>;
    if (Object.keys(keys).length > 0 && ![1, 2].includes(network["version"] as number))
      throw new DocumentFault(code, "the key version must be 1 or 2", {
        at: yaml.positionOf(keys["network"] ? ["network", "version"] : ["version"]),
        isRendered,
      });
  }
}
