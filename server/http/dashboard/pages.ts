import { existsSync } from "node:fs";
import { join, sep } from "node:path";
import staticFiles from "@fastify/static";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { NotFound } from "../../domain/error-catalogue.ts";
import { installSecurityHeaders } from "./security-headers.ts";

export interface PageDeps {
  /** The checkout: the built pages lie in its dist/web. */
  readonly root: string;
}

/** Where the dashboard begins; `base` of server/web/vite.config.ts. */
export const dashboardPath = "/dashboard/";

/** Says what to do where nobody has built the pages; without style and script, as the policy wants it. */
const notBuiltPage = `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Rollcall</title>
<h1>The dashboard is not built</h1>
<p>Rollcall is up and boots machines; the pages of its dashboard are missing.</p>
<p>In its directory on the server, run <code>npm run boot-assets</code>: it builds them with <code>server/build-dashboard.mjs</code>, or says
what is wrong. Then load this page again. Meanwhile <code>boot status</code> shows the roll.</p></html>
`;

/** The pages of the dashboard: files of dist/web, and the one page for every address that the browser's side gives a meaning. */
export function registerPages(app: FastifyInstance, { root }: PageDeps): void {
  const directory = join(root, "dist/web");
  void app.register(
    async (scope) => {
      installSecurityHeaders(scope);
      await scope.register(staticFiles, {
        root: directory,
        // The route is ours: what is a place of the application is no path of a file, whatever is in it.
        serve: false,
        preCompressed: true,
        cacheControl: false,
        dotfiles: "ignore",
        suppressWarning: true,
        setHeaders: (reply, path) => void reply.header("cache-control", cacheControlOf(path, directory)),
      });
      scope.get("/*", { schema: { hide: true } }, (request, reply) => {
        const path = pathOf(request);
        // As it was asked for: names of our files need no encoding, so one that has some is none of them.
        if (!isPlace(path)) return reply.sendFile(path);
        if (existsSync(join(directory, "index.html"))) return reply.sendFile("index.html");
        return reply
          .code(503)
          .headers({ "cache-control": "no-store", "retry-after": "10" })
          .type("text/html; charset=utf-8")
          .send(notBuiltPage);
      });
      scope.setNotFoundHandler((request) => {
        throw NotFound({ path: request.url.split("?")[0] ?? "/" });
      });
    },
    { prefix: dashboardPath.slice(0, -1) },
  );
  app.get("/dashboard", { schema: { hide: true } }, (_request, reply) => reply.redirect(dashboardPath, 302));
}

/** Does the one who asks want a page to look at? Programs that ask for anything get what they always got. */
export const wantsPage = (request: FastifyRequest): boolean =>
  request.headers.accept?.includes("text/html") ?? false;

/** Below dist/web. */
const pathOf = (request: FastifyRequest): string =>
  (request.url.split("?")[0] ?? "").slice(dashboardPath.length);

/**
 * Files have a dot in the first part of their path or lie in assets/; everything else is a place in the application, also one that is
 * newer than this server: the application says so itself.
 */
function isPlace(path: string): boolean {
  const [first = ""] = path.split("/");
  return first !== "assets" && !first.includes(".");
}

/** Names of files in assets/ change with their content. The page that names them is asked for each time. */
function cacheControlOf(path: string, directory: string): string {
  if (path.startsWith(join(directory, "assets") + sep)) return "public, max-age=31536000, immutable";
  return /\.html(\.br|\.gz)?$/.test(path) ? "no-store" : "no-cache";
}
