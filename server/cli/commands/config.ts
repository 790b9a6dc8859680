import { type Command, InvalidArgumentError, Option } from "commander";
import { join, resolve } from "node:path";
import { createDeclaredReader } from "../../config/declared-files.ts";
import type { ConfigSources, LoadedConfig } from "../../config/load.ts";
import type { Config } from "../../config/schema.ts";
import { loadBootAssets } from "../../content/boot-assets.ts";
import { dhcpSnippet, type SnippetDialect, snippetDialects } from "../../dhcp/policy/dhcp-snippets.ts";
import { ConfigInvalid, DeviceNotFound } from "../../domain/error-catalogue.ts";
import { reasonAgainst } from "../../domain/reserved-object.ts";
import { type Cidr, formatCidr, parseCidr } from "../../net/cidr.ts";
import type { Ipv4 } from "../../net/ipv4.ts";
import { root } from "../../platform/checkout.ts";
import { systemClock } from "../../platform/clock.ts";
import { findProgram } from "../../platform/find-program.ts";
import { ipv4ByDevice, servedInterfaces } from "../../platform/network-devices.ts";
import { configFiles } from "../config-files.ts";
import { formatTable, formatValue, type OutputFormat } from "../output.ts";

/** Loaded only where it is needed: every other command answers without it. */
const loading = () => import("../../config/load.ts");

export interface ConfigOptions {
  readonly config?: string;
  readonly interface?: string[];
  readonly data?: string;
  readonly output?: OutputFormat;
}

/** Where the config comes from, for `serve` and `config`. */
export function configSources(options: ConfigOptions): ConfigSources {
  return {
    file: options.config,
    defaultFiles: configFiles,
    environment: process.env,
    overrides: [
      ...(options.interface && options.interface.length > 0
        ? [{ key: "interfaces", value: options.interface, argument: "--interface" }]
        : []),
      ...(options.data === undefined ? [] : [{ key: "dataDir", value: options.data, argument: "--data" }]),
    ],
  };
}

/** Names that are well written and mean nothing on this machine, and what is wrong with files that are named. @throws ConfigInvalid */
async function refuseAbsentNames(config: Config, origins: LoadedConfig["origins"]): Promise<void> {
  const problems: string[] = [];
  const devices = [...ipv4ByDevice().keys()];
  for (const device of config.interfaces)
    if (!devices.includes(device))
      problems.push(
        `${origins.get("interfaces")}: interfaces: there is no network interface ${device} with an IPv4 address; this machine has: ${devices.join(", ") || "none"}`,
      );
  const { loadRoles } = await import("../../render/load-roles.ts");
  const { roles, problems: faults } = loadRoles([
    join(root, "templates/roles"),
    ...(config.rolesDir === undefined ? [] : [config.rolesDir]),
  ]);
  for (const { file, line, column, message } of faults)
    problems.push(`${file}:${line}:${column}: ${message}`);
  if (config.defaultRole !== undefined && !roles.has(config.defaultRole))
    problems.push(
      `${origins.get("defaultRole")}: defaultRole: there is no role ${config.defaultRole}; there are: ${[...roles.keys()].join(", ")}`,
    );
  const { kubernetesVersion, etcd, etcdProgram, objectsDir } = config.cluster;
  if (objectsDir !== undefined) {
    const declared = await createDeclaredReader(objectsDir, {
      clock: systemClock,
      settleMs: 0,
      reasonAgainst: (object) => reasonAgainst(object, config.cluster.network),
    })();
    for (const problem of declared.problems) {
      if (problem.file === objectsDir) {
        process.stderr.write(
          `${origins.get("cluster.objectsDir")}: warning: cluster.objectsDir: ${objectsDir}: ${problem.reason}\n`,
        );
        continue;
      }
      const at = problem.line === undefined ? "" : `:${problem.line}`;
      const { place, object } = problem;
      const what = [place, object].filter((word) => word !== undefined).join(" ");
      problems.push(
        `${resolve(objectsDir, problem.file)}${at}: ${what === "" ? "" : `${what}: `}${problem.reason}`,
      );
    }
  }
  if (kubernetesVersion !== undefined && etcd !== "stacked" && findProgram(etcdProgram) === undefined)
    problems.push(
      `${origins.get("cluster.etcdProgram")}: cluster.etcdProgram: there is no program ${etcdProgram} that may be run, and the server is to run the cluster's etcd; on Debian: apt install etcd-server etcd-client`,
    );
  if (problems.length > 0) throw ConfigInvalid({ problems });
}

/** Of the interfaces that `boot serve` would serve here; none where there is nothing to serve yet. */
function ownAddresses(config: Config): Ipv4[] {
  try {
    return servedInterfaces(config.interfaces).map(({ address }) => address);
  } catch (error) {
    if (DeviceNotFound.is(error)) return [];
    throw error;
  }
}

function collectNetwork(text: string, before: readonly Cidr[] = []): Cidr[] {
  const network = parseCidr(text);
  if (!network || network.prefixLength === 0)
    throw new InvalidArgumentError("It is no network such as 10.0.0.0/24.");
  return [...before, network];
}

/** Networks that the other DHCP server is to tell of us: of the config, else those that this host stands in itself. */
function roomsOf(config: Config): Cidr[] {
  const configured = config.dhcp.subnets.flatMap(({ subnet }) => parseCidr(subnet) ?? []);
  if (configured.length > 0) return configured;
  const networks = servedInterfaces(config.interfaces).flatMap((served) => served.networks);
  return [...new Map(networks.map((network) => [formatCidr(network), network])).values()];
}

export function configCommands(program: Command): void {
  const config = program.command("config").description("show and check the config of this machine's server");
  config
    .command("show")
    .description("every value in force, and where it comes from")
    .option("--config <file>", "config file")
    .addHelpText("after", "\nExample:\n  ROLLCALL_DHCP__MODE=off boot config show")
    .action(async (_options: ConfigOptions, command: Command) => {
      const options = command.optsWithGlobals<ConfigOptions>();
      const { describeConfig, loadConfig } = await loading();
      const lines = describeConfig(loadConfig(configSources(options)));
      process.stdout.write(
        options.output && options.output !== "table"
          ? formatValue(lines, options.output)
          : formatTable({
              columns: ["key", "value", "from"],
              rows: lines.map(({ key, value, origin }) => [
                key,
                value === undefined ? "-" : JSON.stringify(value),
                origin,
              ]),
              empty: "",
            }),
      );
    });
  config
    .command("check [file]")
    .description("read the config and say what is wrong with it")
    .addHelpText("after", "\nExample:\n  boot config check ./rollcall.yaml")
    .option("--config <file>", "the same as naming the file")
    .action(async (named: string | undefined, _options: ConfigOptions, command: Command) => {
      const options = command.optsWithGlobals<ConfigOptions>();
      if (named !== undefined && options.config !== undefined && named !== options.config)
        command.error(`error: name one file, ${named} or ${options.config}`);
      const sources = configSources(named === undefined ? options : { ...options, config: named });
      const { loadConfig, refuseOwnAddresses } = await loading();
      const { file, config, origins } = loadConfig(sources);
      await refuseAbsentNames(config, origins);
      refuseOwnAddresses({ config, origins }, ownAddresses(config));
      process.stdout.write(`${file ?? "no config file, defaults only"}: fine\n`);
    });
  config
    .command("dhcp-snippet")
    .description(
      "what another DHCP server is to be told, for machines that do not take our boot file beside its address",
    )
    .option("--config <file>", "config file")
    .addOption(
      new Option("--for <server>", "kind of DHCP server; default: all of them").choices(snippetDialects),
    )
    .option(
      "--subnet <cidr>",
      "only machines of this network are told; may be given several times (default: dhcp.subnets, else the networks of the served interfaces)",
      collectNetwork,
    )
    .addHelpText(
      "after",
      "\nExamples:\n  boot config dhcp-snippet --for kea\n  boot config dhcp-snippet --for isc --subnet 10.50.1.0/24 --subnet 10.50.2.0/24",
    )
    .action(async (_options: ConfigOptions, command: Command) => {
      const options = command.optsWithGlobals<ConfigOptions & { for?: SnippetDialect; subnet?: Cidr[] }>();
      const { loadConfig } = await loading();
      const { config } = loadConfig(configSources(options));
      const address = (config.address ?? servedInterfaces(config.interfaces)[0]?.address) as Ipv4;
      const url = `http://${address}:${config.http.port}`;
      const input = {
        serverAddress: address,
        urls: { script: `${url}/boot.ipxe`, nbp: (name: string) => `${url}/nbp/${name}` },
        available: new Set(loadBootAssets(join(root, "boot-assets")).assets.keys()),
        subnets: options.subnet ?? roomsOf(config),
      };
      const dialects = options.for === undefined ? snippetDialects : [options.for];
      process.stdout.write(dialects.map((dialect) => dhcpSnippet(dialect, input)).join("\n"));
    });
}
