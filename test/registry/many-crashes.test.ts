import t from "tap";
import { crashRegistry } from "../support/registry-crashes.ts";

t.test(
  "8 times kill -9 in the middle of pushes: nothing acknowledged is lost, nothing damaged is visible",
  async (t) => {
    const seed = Number(process.env["CRASH_SEED"] ?? Date.now() % 1_000_000);
    t.comment(JSON.stringify(await crashRegistry(t, 8, seed)));
  },
);
