import t from "tap";
import { machineIdOf } from "../../server/boot/machine-identity.ts";
import type { Mac } from "../../server/net/mac.ts";
import { readNodeFacts } from "../../server/node/node-facts.ts";
import { sampleInput } from "../support/node-samples.ts";

t.test(
  "a machine-id is the same at each boot, another for each machine and server, and one that systemd takes",
  (t) => {
    const secret = new Uint8Array(32).fill(7);
    const mac = "52:54:00:00:00:05" as Mac;
    const id = machineIdOf(secret, mac);
    t.equal(machineIdOf(secret, mac), id);
    t.not(machineIdOf(secret, "52:54:00:00:00:06" as Mac), id);
    t.not(machineIdOf(new Uint8Array(32), mac), id);
    t.same(readNodeFacts({ ...sampleInput, machineId: id }).problems, []);
    t.end();
  },
);
