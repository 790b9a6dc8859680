import type { Command } from "commander";
import { fillBootAssets } from "./asset.ts";
import { configSources, type ConfigOptions } from "./config.ts";

function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

export function serveCommand(program: Command): void {
  program
    .command("serve")
    .description("run the server: DHCP or proxyDHCP, TFTP, HTTP, API")
    .option("--config <file>", "config file (default: rollcall.yaml here, then /etc/rollcall/rollcall.yaml)")
    .option("--interface <name>", "network interface to serve; may be given several times", collect, [])
    .option("--first-start", "fill boot-assets/ first if it is empty (npm start does)")
    .addHelpText("after", "\nExample:\n  boot serve --interface eth1 --data /var/lib/rollcall")
    .action(async (options: ConfigOptions & { firstStart?: boolean }, command: Command) => {
      if (options.firstStart)
        await fillBootAssets({ quiet: true }).catch((error: Error) =>
          process.stderr.write(`${error.message}\n`),
        );
      // Loaded only here: every other command answers without starting up the server's own modules.
      const { serve } = await import("../../main.ts");
      process.exitCode = await serve(configSources({ ...command.optsWithGlobals(), ...options }));
    });
}
