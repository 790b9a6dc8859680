import type { Page } from "playwright-core";
import type { Client } from "../../server/cli/client.ts";
import { launchBrowser, type PageOptions, type TestBrowser } from "./browser.ts";
import { createSimulationLab, serverAddress } from "./simulation-lab.ts";

/** A server with a virtual room, a browser in its network, and ways to sign in. @param name of its network namespace, some letters */
export async function dashboardLab(t: { teardown(fn: () => Promise<void>): unknown }, name: string) {
  const lab = await createSimulationLab(`${name}${process.pid}`);
  t.teardown(() => lab.close());
  const browser = await launchBrowser(lab.lab);
  t.teardown(() => browser.close());
  const { client } = lab;
  const home = `http://${serverAddress}:8080/dashboard/`;
  return {
    lab,
    browser,
    client,
    home,
    open: signedInPages({ browser, client, home }),
    openWith: tokenPages({ browser, home }),
  };
}

/** @param home where the dashboard is, with its last slash @returns opens a page on which somebody has signed in by a link */
function signedInPages({
  browser,
  client,
  home,
}: {
  readonly browser: TestBrowser;
  readonly client: Client;
  readonly home: string;
}) {
  return async (path: string, options: PageOptions = {}): Promise<Page> => {
    const page = await browser.open(options);
    const { url } = await client.post<{ url: string }>("/session/links", {});
    await page.goto(`${home}sign-in${new URL(url).hash}`);
    await page.locator(".connection.is-live").waitFor();
    await page.goto(home + path);
    await page.locator(".connection.is-live").waitFor();
    return page;
  };
}

/** As `signedInPages`, by a token that is typed in. */
function tokenPages({ browser, home }: { readonly browser: TestBrowser; readonly home: string }) {
  return async (token: string, options: PageOptions = {}): Promise<Page> => {
    const page = await browser.open(options);
    await page.goto(home);
    await page.locator("input[name=token]").fill(token);
    await page.keyboard.press("Enter");
    await page.locator(".connection.is-live").waitFor();
    return page;
  };
}
