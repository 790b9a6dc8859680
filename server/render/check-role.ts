import { join } from "node:path";
import {
  commandLineOctets,
  documentKinds,
  documentOf,
  hasDocument,
  hasType,
  type Role,
  type TemplateKind,
  typeInWords,
} from "../domain/role.ts";
import { nodeChannel } from "../domain/node-kind.ts";
import { isRoleWarning, type RoleFaultCode } from "../domain/reported-codes.ts";
import { menuParameters } from "../domain/role-menu.ts";
import type { YamlText } from "../yaml/read-yaml.ts";
import { sampleContext } from "./context.ts";
import { DocumentFault, DocumentFaults } from "./document-fault.ts";
import { syntaxOf } from "./documents.ts";
import { compileTemplate } from "./engine.ts";
import type { Report } from "./load-roles.ts";
import { ipxeWord } from "./quoting.ts";
import { isMultipart, refuseUnreadable } from "./readable.ts";
import { createLocalFiles } from "./role-folder.ts";
import { readIgnition } from "./role-ignition.ts";
import type { RoleFile } from "./role-schema.ts";
import { scriptFaults } from "./script-lines.ts";
import { readMarks } from "./template-places.ts";

/**
 * What a schema can't say of a role, and each of its documents tried with sample facts, so that a slip shows when the role is read.
 * With parameters that are wrong themselves no document is tried: what it would say of them is no fault of its own.
 */
export function checkRole(role: Role, source: RoleFile, yaml: YamlText, report: Report): void {
  let areParametersRight = true;
  checkMeaning(role, source, yaml, (code, ...words) => {
    if (code === "ROLE_VALUE_INVALID") areParametersRight = false;
    report(code, ...words);
  });
  if (!areParametersRight) return;
  checkArguments(role, yaml, report);
  checkDocuments(role, report);
}

const parameterName = /^[a-z][A-Za-z0-9]{0,30}$/;

function checkMeaning(role: Role, source: RoleFile, yaml: YamlText, report: Report): void {
  const conflict = (message: string, key: string) =>
    report("ROLE_KEYS_CONFLICT", message, yaml.positionOf(key.split(".")));
  if (role.boot === "image" && !role.image) conflict("boot: image needs the key image", "boot");
  if (role.boot !== "image" && source.image)
    conflict(`image: has no meaning with boot: ${role.boot}`, "image");
  if (role.boot === "script" && !role.templates.ipxe && !role.files.ipxe)
    conflict("boot: script needs templates.ipxe", "boot");
  if (role.boot !== "image" && source.arguments)
    conflict(`arguments: has no meaning with boot: ${role.boot}`, "arguments");
  if (role.boot !== "image" && source.userDataParts)
    conflict(`userDataParts: has no meaning with boot: ${role.boot}`, "userDataParts");
  if (role.userDataParts.length > 0 && isMultipart(role.files["user-data"]?.source ?? ""))
    conflict(
      "files.user-data is a multipart message, into which no userDataParts are merged, be they of the role that is extended; make them parts of the message",
      source.userDataParts ? "userDataParts" : "files.user-data",
    );
  if (role.boot !== "local" && source.localBoot)
    conflict(`localBoot: has no meaning with boot: ${role.boot}`, "localBoot");
  checkNode(role, source, conflict);
  if (role.boot === "menu")
    for (const [name, type] of Object.entries(menuParameters))
      if (role.parameters[name]?.type !== type)
        conflict(`boot: menu needs the parameter ${name}, which must be ${typeInWords[type]}`, "boot");
  for (const document of documentKinds) {
    const brought = [
      ...Object.keys(source.templates ?? {})
        .filter((kind) => documentOf(kind as TemplateKind) === document)
        .map((kind) => `templates.${kind}`),
      ...(source.files?.[document] === undefined ? [] : [`files.${document}`]),
    ];
    const [first, second] = brought;
    if (second) conflict(`${second}: ${first} makes the same document`, second);
  }
  for (const [name, parameter] of Object.entries(source.parameters ?? {})) {
    if (!parameterName.test(name))
      report(
        "ROLE_VALUE_INVALID",
        `parameters.${name}: a name is letters and digits, the first a small letter, at most 31`,
        yaml.positionOf(["parameters", name]),
      );
    if (!hasType(parameter.default, parameter.type))
      report(
        "ROLE_VALUE_INVALID",
        `parameters.${name}.default: must be ${typeInWords[parameter.type]}`,
        yaml.positionOf(["parameters", name, "default"]),
      );
  }
}

/** A node needs a way on which its description comes to the machine. */
function checkNode(role: Role, source: RoleFile, conflict: (message: string, key: string) => void): void {
  if (role.node === undefined) {
    if (source.nodeRam) conflict("nodeRam: has no meaning without node", "nodeRam");
    return;
  }
  const key = source.node ? "node" : source.family ? "family" : "boot";
  if (role.boot !== "image" && role.boot !== "script")
    return conflict(`node: has no meaning with boot: ${role.boot}`, key);
  const channel = nodeChannel(role.family);
  if (channel === "initrd") {
    if (role.boot !== "image" || !role.rollcallArguments)
      conflict(
        `node: family: ${role.family} is an image of ours (boot: image, without rollcallArguments: false); name another family`,
        key,
      );
  } else if (role.boot === "script" && !hasDocument(role, channel))
    conflict(`node: with boot: script, family: ${role.family} needs the document ${channel}`, key);
  if (channel === "user-data" && isMultipart(role.files["user-data"]?.source ?? ""))
    conflict("files.user-data is a multipart message, into which no node is merged", key);
}

/** Runs one check and tells each of its faults, at `at` of role.yaml where a fault has no place of its own in `file`. */
function attempt(
  report: Report,
  code: RoleFaultCode,
  work: () => void,
  { at, file }: { at: { line: number; column: number }; file?: string },
): void {
  const oneLine = (text: string) => text.replaceAll(/\s*\n\s*/g, " ").slice(0, 500);
  try {
    work();
  } catch (error) {
    const faults = error instanceof DocumentFaults ? error.faults : [error as Error];
    for (const fault of faults)
      if (fault instanceof DocumentFault)
        report(fault.code, oneLine(fault.sentence), (file === undefined ? undefined : fault.at) ?? at, file);
      else report(code, oneLine(fault.message), at, file);
  }
}

function checkArguments(role: Role, yaml: YamlText, report: Report): void {
  const context = sampleContext(role);
  const words: string[] = [];
  role.arguments.forEach((argument, index) =>
    attempt(
      report,
      "ARGUMENT_INVALID",
      () => {
        const text = compileTemplate(argument, syntaxOf("argument")).render(context);
        words.push(text);
        if (text === "" || ipxeWord(text) !== text)
          throw new Error(
            `arguments.${index}: ${JSON.stringify(text)} is not one word that iPXE can pass on; write each argument as an item of its own, without blanks, quotes, $, # or braces`,
          );
      },
      { at: yaml.positionOf(["arguments", index]) },
    ),
  );
  const { length } = words.join(" ");
  if (length > commandLineOctets)
    report(
      "ARGUMENT_INVALID",
      `arguments: ${length} octets together, and Linux reads ${commandLineOctets} of its command line`,
      yaml.positionOf(["arguments"]),
    );
}

/** Reads every file and renders every template, as for a machine of which all is known and for one of which nothing is. */
function checkDocuments(role: Role, report: Report): void {
  const top = { line: 1, column: 1 };
  for (const kind of documentKinds) {
    const text = role.files[kind];
    if (!text) continue;
    const work = () => refuseFaulty(kind, text.source, text.directory, false);
    attempt(report, "ROLE_VALUE_INVALID", work, { at: top, file: join(text.directory, text.file) });
  }
  const templates = [
    ...Object.entries(role.templates),
    ...role.userDataParts.map((part) => ["user-data", part] as const),
  ];
  for (const [kind, text] of templates) {
    const work = () => tryTemplate(role, kind as TemplateKind, text.source, text.directory);
    attempt(report, "TEMPLATE_INVALID", work, { at: top, file: join(text.directory, text.file) });
  }
}

/** @throws DocumentFault, DocumentFaults what is wrong with a document, and what may go wrong with it */
function refuseFaulty(kind: TemplateKind, text: string, directory: string, isRendered: boolean): void {
  if (kind === "ignition" || kind === "butane") {
    readIgnition(text, createLocalFiles(directory), isRendered);
    return;
  }
  refuseUnreadable(kind, text, { isRendered });
  const faults = kind === "ipxe" ? scriptFaults(text) : [];
  if (faults.length > 0) throw new DocumentFaults(faults);
}

/** @throws DocumentFault, DocumentFaults whose places are those of the template */
function tryTemplate(role: Role, kind: TemplateKind, source: string, directory: string): void {
  const template = compileTemplate(source, syntaxOf(kind), { hasMarks: true });
  const look = (isNew: boolean) => {
    const { text, placeOf } = readMarks(template.render(sampleContext(role, isNew)));
    try {
      refuseFaulty(kind, text, directory, true);
    } catch (error) {
      throw new DocumentFaults(
        faultsOf(error).map(
          ({ code, sentence, at }) => new DocumentFault(code, sentence, { at: at && placeOf(at) }),
        ),
      );
    }
  };
  try {
    look(false);
  } catch (error) {
    // Warnings alone are no reason not to look at it as for a new machine.
    if (faultsOf(error).some(({ code }) => !isRoleWarning(code))) throw error;
    lookAsNew();
    throw error;
  }
  lookAsNew();

  function lookAsNew(): void {
    try {
      look(true);
    } catch (error) {
      const faults = faultsOf(error).filter(({ code }) => !isRoleWarning(code));
      if (faults.length === 0) return;
      throw new DocumentFaults(
        faults.map(
          ({ code, sentence, at }) =>
            new DocumentFault(
              code,
              `${sentence}, on a machine of which only the MAC is known; put it inside {{#if ...}}`,
              { at },
            ),
        ),
      );
    }
  }
}

/** @throws the error itself where it is none of a document */
function faultsOf(error: unknown): readonly DocumentFault[] {
  if (error instanceof DocumentFaults) return error.faults;
  if (error instanceof DocumentFault) return [error];
  throw error;
}
