import { defineConfig } from "vite";

/** No plugin: JSX is oxc's, and nothing is inlined, because the Content-Security-Policy refuses what stands in the page itself. */
export default defineConfig({
  root: import.meta.dirname,
  base: "/dashboard/",
  publicDir: false,
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "../../dist/web",
    emptyOutDir: true,
    target: ["chrome123", "firefox120", "safari17.5"],
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    sourcemap: false,
    reportCompressedSize: false,
  },
});
