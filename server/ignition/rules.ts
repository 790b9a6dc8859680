import type { IgnitionConfig, Node, Resource, Unit } from "./config.ts";
import { eachOf, type Report, resource } from "./resource-rules.ts";
import type { Path, Problem } from "./shape.ts";
import { storageRules } from "./storage-rules.ts";
import { unitFault } from "./unit-text.ts";

const unitSuffixes =
  "service socket device mount automount swap target path timer snapshot slice scope".split(" ");

/** All rules that a config with the right shape can break. */
export function brokenRules(config: IgnitionConfig, minor: number): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  const { config: references, proxy, security } = config.ignition;
  eachOf(
    references?.merge,
    (one, path) => requiredReference(one, path, report),
    "ignition",
    "config",
    "merge",
  );
  if (references?.replace) resource(references.replace, ["ignition", "config", "replace"], report);
  eachOf(
    security?.tls?.certificateAuthorities,
    (one, path) => requiredReference(one, path, report),
    "ignition",
    "security",
    "tls",
    "certificateAuthorities",
  );
  for (const key of ["httpProxy", "httpsProxy"] as const)
    if (proxy?.[key] !== undefined && !/^https?:\/\/./.test(proxy[key]))
      report(["ignition", "proxy", key], "must be an address that begins with http:// or https://");
  if (config.storage) storageRules(config.storage, minor, report);
  eachOf(config.systemd?.units, (unit, path) => unitRules(unit, path, report), "systemd", "units");
  filesAndUnits(config, report);
  return problems;
}

function requiredReference(one: Resource, path: Path, report: Report): void {
  if (!one.source) report(path, "the key source is missing");
  resource(one, path, report);
}

function unitRules({ name, contents, dropins }: Unit, path: Path, report: Report): void {
  if (!unitSuffixes.some((suffix) => name.endsWith(`.${suffix}`)) || name.includes("/"))
    report([...path, "name"], `must be the name of a unit, with its suffix: ${unitSuffixes.join(", ")}`);
  const fault = unitFault(contents ?? "");
  if (fault) report([...path, "contents"], fault);
  eachOf(
    dropins,
    (dropin, at) => {
      if (!dropin.name.endsWith(".conf") || dropin.name.includes("/"))
        report([...at, "name"], "must be the name of a drop-in, which ends in .conf");
      const dropinFault = unitFault(dropin.contents ?? "");
      if (dropinFault) report([...at, "contents"], dropinFault);
    },
    ...path,
    "dropins",
  );
}

/** Units are files too: the same path twice would be one of the two by chance. */
function filesAndUnits({ storage, systemd }: IgnitionConfig, report: Report): void {
  const taken = new Set<string>();
  for (const { name, contents, dropins = [] } of systemd?.units ?? []) {
    if (contents) taken.add(`/etc/systemd/system/${name}`);
    for (const dropin of dropins)
      if (dropin.contents) taken.add(`/etc/systemd/system/${name}.d/${dropin.name}`);
  }
  for (const kind of ["files", "directories", "links"] as const)
    eachOf<Node>(
      storage?.[kind],
      ({ path }, at) => {
        if (taken.has(path)) report([...at, "path"], "is written by a unit or drop-in under systemd too");
      },
      "storage",
      kind,
    );
}
