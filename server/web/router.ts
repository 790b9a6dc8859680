import { signal } from "@preact/signals";
import { basePath, type Route, routeOf } from "./routes.ts";

/** Where the page is; views read it, `navigate` changes it. */
export const route = signal<Route>({ view: "rooms" });

/** @param path as `pathTo` makes it */
export function navigate(path: string, { replaces = false } = {}): void {
  if (replaces) history.replaceState(null, "", path);
  else history.pushState(null, "", path);
  readAddress();
  scrollTo(0, 0);
}

function readAddress(): void {
  route.value = routeOf(location.pathname);
}

/** Follows the browser's own buttons, and links within the dashboard without loading the page anew. */
export function startRouter(): void {
  readAddress();
  addEventListener("popstate", readAddress);
  document.addEventListener("click", (event) => {
    const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
    const link = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (!isPlain || event.defaultPrevented || !(link instanceof HTMLAnchorElement)) return;
    const isOurs = link.origin === location.origin && link.pathname.startsWith(basePath);
    if (!isOurs || link.target !== "" || link.hasAttribute("download")) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
  });
}
