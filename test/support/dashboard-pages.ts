import type { Page } from "playwright-core";
import type { Client } from "../../server/cli/client.ts";
import type { PageOptions, TestBrowser } from "./browser.ts";

/** @param home where the dashboard is, with its last slash @returns opens a page on which somebody has signed in by a link */
export function signedInPages({
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
export function tokenPages({ browser, home }: { readonly browser: TestBrowser; readonly home: string }) {
  return async (token: string, options: PageOptions = {}): Promise<Page> => {
    const page = await browser.open(options);
    await page.goto(home);
    await page.locator("input[name=token]").fill(token);
    await page.keyboard.press("Enter");
    await page.locator(".connection.is-live").waitFor();
    return page;
  };
}
