#!/usr/bin/env node
// `npm run bench`: our servers beside Debian's in one run; `npm run bench -- dhcp` for one section.
import { ensurePackages, runWithNode } from "../../server/launch.mjs";

ensurePackages({ dev: true });
runWithNode("test/bench/main.ts", process.argv.slice(2));
