// Builds the pages of the dashboard: server/web -> dist/web, each text also as .br and .gz. A server that runs in this checkout goes on
// serving the old ones until the new ones are whole.
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "vite";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const target = join(root, "dist/web");
/** Below this a compressed answer is hardly smaller than its headers, octets. */
const worthCompressing = 1024;

/** @returns paths of all files below a directory */
function filesBelow(directory) {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name);
    return entry.isDirectory() ? filesBelow(path) : [path];
  });
}

function compress(directory) {
  for (const path of filesBelow(directory)) {
    if (!/\.(js|css|html|svg|json|txt)$/.test(path)) continue;
    const content = readFileSync(path);
    if (content.length < worthCompressing) continue;
    const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
    writeFileSync(`${path}.br`, brotliCompressSync(content, { params }));
    writeFileSync(`${path}.gz`, gzipSync(content, { level: constants.Z_BEST_COMPRESSION }));
  }
}

/** Puts what was built in the place of what is there; two builds at once do no harm. */
function replace(built, before) {
  for (let tries = 1; ; tries++) {
    try {
      renameSync(target, join(before, String(tries)));
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    try {
      return renameSync(built, target);
    } catch (error) {
      if (tries === 10 || !["ENOTEMPTY", "EEXIST"].includes(error.code)) throw error;
    }
  }
}

const stage = mkdtempSync(join(root, ".web-"));
try {
  const built = join(stage, "web");
  const before = mkdtempSync(join(stage, "before-"));
  await build({
    configFile: join(root, "server/web/vite.config.ts"),
    logLevel: "warn",
    build: { outDir: built, emptyOutDir: true },
  });
  compress(built);
  mkdirSync(dirname(target), { recursive: true });
  replace(built, before);
} finally {
  rmSync(stage, { recursive: true, force: true });
}
