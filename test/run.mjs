#!/usr/bin/env node
// `npm test`: installs what the tests need, runs everything, and says in its last line how it went.
import { ensurePackages, runWithNode } from "../server/launch.mjs";

ensurePackages({ dev: true });
runWithNode("test/run-all.ts", process.argv.slice(2));
