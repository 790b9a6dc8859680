import type { Command } from "commander";

export function demoCommand(program: Command): void {
  program
    .command("demo")
    .description("a virtual lab on this machine")
    .action(() => {});
}
