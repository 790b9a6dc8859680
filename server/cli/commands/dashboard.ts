import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command } from "commander";
import type { Session } from "../session.ts";

interface LinkView {
  /** `http://…/dashboard/sign-in#link=…` */
  url: string;
  expiresAt: string;
}

/** A browser that starts on a slow PC has read its page by then. */
const browserStartsInSeconds = 30;

export function dashboardCommand(program: Command, open: () => Session): void {
  program
    .command("dashboard")
    .description("print a link that signs a browser in to the dashboard, once, within five minutes")
    .option("--open", "open it in this desktop's browser")
    .addHelpText(
      "after",
      "\nExamples:\n  boot dashboard          a link to click on or to copy\n  boot dashboard --open   and a browser opens it",
    )
    .action(async (options: { open?: boolean }) => {
      const session = open();
      const link = await session.client.post<LinkView>("/session/links", {});
      session.show(
        link,
        () =>
          `${link.url}\nIt signs in as you, once, until ${new Date(link.expiresAt).toLocaleString("sv-SE")}. Whoever has it can do what you can.\n`,
      );
      if (options.open && !(await openInBrowser(link.url)))
        process.stderr.write("No browser could be started (xdg-open); open the link yourself.\n");
    });
}

/**
 * Programs' arguments are everybody's to read (`ps`), so the browser is given a file of ours that leads to the link.
 * @returns false when there is no browser
 */
async function openInBrowser(url: string): Promise<boolean> {
  const directory = mkdtempSync(join(process.env["XDG_RUNTIME_DIR"] ?? tmpdir(), "rollcall-"));
  const page = join(directory, "dashboard.html");
  const escaped = url.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
  writeFileSync(
    page,
    `<!doctype html>\n<meta charset="utf-8"><meta http-equiv="refresh" content="0; url=${escaped}">\n<a href="${escaped}">Rollcall</a>\n`,
    { mode: 0o600 },
  );
  const code = await new Promise<number>((resolve) => {
    const child = spawn("xdg-open", [page], { stdio: "ignore" });
    child.on("error", () => resolve(127));
    child.on("exit", (exit) => resolve(exit ?? 1));
  });
  if (code === 0) {
    // Nobody has to wait for the browser to have read it.
    const words = ["-c", `sleep ${browserStartsInSeconds}; rm -r "$0"`, directory];
    spawn("sh", words, { stdio: "ignore", detached: true, cwd: "/" }).unref();
  } else rmSync(directory, { recursive: true, force: true });
  return code === 0;
}
