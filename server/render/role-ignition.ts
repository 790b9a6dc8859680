import { gzipSync } from "node:zlib";
import type { IgnitionConfig } from "../ignition/config.ts";
import type { LocalFiles } from "../ignition/local-files.ts";
import { inWords, isObject, type Problem } from "../ignition/shape.ts";
import { translateButane } from "../ignition/translate.ts";
import { validateConfig } from "../ignition/validate.ts";
import type { RoleFaultCode } from "../domain/reported-codes.ts";
import { readYaml, type YamlText } from "../yaml/read-yaml.ts";
import { DocumentFault, DocumentFaults } from "./document-fault.ts";

const gzip = (bytes: Uint8Array) => gzipSync(bytes, { level: 9 });

/**
 * A role's Ignition config from a text that is Butane (it has the key `variant`) or Ignition.
 * @throws DocumentFaults with every fault and its place in the text
 */
export function readIgnition(text: string, files: LocalFiles, isRendered: boolean): IgnitionConfig {
  // JSON is YAML too, so that one reader tells the place of every key.
  const yaml = readYaml(text, { isYaml11: true });
  const isButane = !/^\s*\{/.test(text) || (isObject(yaml.value) && "variant" in yaml.value);
  const code = isButane ? "BUTANE_INVALID" : "IGNITION_INVALID";
  const fault = (sentence: string, at: { line: number; column: number }) =>
    new DocumentFault(code, sentence, { at, isRendered });
  if (!isButane) refuseBrokenJson(text, isRendered);
  if (yaml.problems.length > 0)
    throw new DocumentFaults(yaml.problems.map((problem) => fault(problem.message, problem)));
  const { config, problems } = isButane
    ? translateButane({ value: yaml.value, writtenAt: yaml.writtenAt }, { files, gzip })
    : validateConfig(yaml.value);
  if (config) return config;
  throw new DocumentFaults(problems.map((problem) => faultAt(problem, yaml, code, isRendered)));
}

function faultAt(
  { path, message }: Problem,
  yaml: YamlText,
  code: RoleFaultCode,
  isRendered: boolean,
): DocumentFault {
  const sentence = path.length > 0 ? `${inWords(path)}: ${message}` : message;
  return new DocumentFault(code, sentence, { at: yaml.positionOf(path as (string | number)[]), isRendered });
}

/** What is read as YAML must be JSON all the same: Ignition reads nothing else. */
function refuseBrokenJson(text: string, isRendered: boolean): void {
  try {
    JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    const [, line = "1", column = "1"] = /\(line (\d+) column (\d+)\)$/.exec(message) ?? [];
    throw new DocumentFaults([
      new DocumentFault(
        "IGNITION_INVALID",
        `this is no JSON: ${message.replace(/ in JSON at position .*$/s, "").slice(0, 100)}`,
        { at: { line: Number(line), column: Number(column) }, isRendered },
      ),
    ]);
  }
}
