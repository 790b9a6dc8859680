import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";
import type { VirtualLab } from "../../server/demo/virtual-lab.ts";
import { root } from "../../server/platform/checkout.ts";

/** Debian's. */
const program = "/usr/bin/chromium";
/** Pictures of the views that the tests saw, to be looked at by people. */
export const screenshotDirectory = join(root, "test/artifacts/dashboard");
/** A busy host is no reason to fail: longest wait for anything on a page, ms. */
const patienceMs = 120_000;

export interface TestBrowser {
  /** A page of its own, with cookies of its own. @param options width and height in CSS pixels, colour scheme, language */
  open(options?: PageOptions): Promise<Page>;
  close(): Promise<void>;
}

export interface PageOptions {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: "light" | "dark";
  readonly locale?: string;
  readonly more?: BrowserContextOptions;
}

/**
 * A real browser without a screen. As root it has no sandbox; it sees the pages of the test alone.
 * @param lab the network that it runs in; undefined: this host's
 */
export async function launchBrowser(lab?: Pick<VirtualLab, "directory" | "inside">): Promise<TestBrowser> {
  if (!existsSync(join(root, "dist/web/index.html")))
    throw new Error("the dashboard is not built: run `node server/build-dashboard.mjs`");
  mkdirSync(screenshotDirectory, { recursive: true });
  const browser: Browser = await chromium.launch({
    executablePath: lab ? programInside(lab) : program,
    args: ["--no-sandbox", "--disable-gpu"],
    timeout: patienceMs,
  });
  return {
    async open({ width = 1280, height = 900, scheme = "light", locale = "en-GB", more = {} } = {}) {
      const context = await browser.newContext({
        viewport: { width, height },
        colorScheme: scheme,
        locale,
        ...more,
      });
      context.setDefaultTimeout(patienceMs);
      context.setDefaultNavigationTimeout(patienceMs);
      return context.newPage();
    },
    close: () => browser.close(),
  };
}

/** The one program that playwright starts, with words of its own behind it. */
function programInside({ directory, inside }: Pick<VirtualLab, "directory" | "inside">): string {
  const script = join(directory, "browser");
  writeFileSync(script, `#!/bin/sh\nexec ${inside(program).join(" ")} "$@"\n`, { mode: 0o755 });
  return script;
}

/** @param name of the file, without its ending */
export async function keepScreenshot(page: Page, name: string): Promise<void> {
  await page.screenshot({
    path: join(screenshotDirectory, `${name}.png`),
    fullPage: true,
    timeout: patienceMs,
  });
}

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

interface AxeViolation {
  readonly id: string;
  readonly impact: string | null;
  readonly nodes: readonly { readonly html: string }[];
}

/** What axe finds that is serious or critical, a line each. */
export async function seriousProblems(page: Page): Promise<string[]> {
  // By the browser's debugger, which the page's Content-Security-Policy does not bind.
  const violations = await page.evaluate<AxeViolation[]>(
    `(() => { ${axeSource}; return axe.run().then(({ violations }) => violations); })()`,
  );
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join(" | ")}`);
}

/** Goes on by Tab until what has the focus fits. @param selector CSS, of the element or of one that it is in */
export async function tabTo(page: Page, selector: string, key = "Tab"): Promise<void> {
  for (let presses = 0; presses < 100; presses++) {
    const isThere = await page.evaluate(
      `document.activeElement?.closest(${JSON.stringify(selector)}) !== null && document.activeElement !== document.body`,
    );
    if (isThere) return;
    await page.keyboard.press(key);
  }
  throw new Error(`no way by ${key} leads to ${selector}`);
}

/** Goes on by Tab until what has the focus is called so. @param name all of its text or its aria-label */
export async function tabToNamed(page: Page, name: string, key = "Tab"): Promise<void> {
  for (let presses = 0; presses < 100; presses++) {
    const focused = await page.evaluate<string>(
      `(document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent ?? "").trim()`,
    );
    if (focused === name) return;
    await page.keyboard.press(key);
  }
  throw new Error(`no way by ${key} leads to “${name}”`);
}
