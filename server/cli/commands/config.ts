import type { Command } from "commander";
import { type ConfigSources, describeConfig, loadConfig } from "../../config/load.ts";
import { formatTable, formatValue, type OutputFormat } from "../output.ts";

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
    defaultFiles: ["rollcall.yaml", "/etc/rollcall/rollcall.yaml"],
    environment: process.env,
    overrides: [
      ...(options.interface && options.interface.length > 0
        ? [{ key: "interfaces", value: options.interface, argument: "--interface" }]
        : []),
      ...(options.data === undefined ? [] : [{ key: "dataDir", value: options.data, argument: "--data" }]),
    ],
  };
}

export function configCommands(program: Command): void {
  const config = program.command("config").description("show and check the config of this machine's server");
  config
    .command("show")
    .description("every value in force, and where it comes from")
    .option("--config <file>", "config file")
    .addHelpText("after", "\nExample:\n  ROLLCALL_DHCP__MODE=off boot config show")
    .action((_options: ConfigOptions, command: Command) => {
      const options = command.optsWithGlobals<ConfigOptions>();
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
    .command("check")
    .description("read the config and say what is wrong with it")
    .addHelpText("after", "\nExample:\n  boot config check --config ./rollcall.yaml")
    .option("--config <file>", "config file")
    .action((_options: ConfigOptions, command: Command) => {
      const { file } = loadConfig(configSources(command.optsWithGlobals<ConfigOptions>()));
      process.stdout.write(`${file ?? "no config file, defaults only"}: fine\n`);
    });
}
