import { writeSync } from "node:fs";
import { hashSecret } from "../../server/boot/claims.ts";
import { systemClock } from "../../server/platform/clock.ts";
import { openStore } from "../../server/store/open-store.ts";
import { role, sampleAssignment, sampleClaim, sampleLease, sampleMachine } from "./samples.ts";

/**
 * Writes to the store named by its first argument until it is killed, and tells each write on standard output once the store has
 * acknowledged it: `<what> <number> <value>`. The second argument is the first number, so that runs do not repeat each other.
 */
const [path = "", first = "1"] = process.argv.slice(2);
const store = openStore(path, systemClock);
const tell = (line: string) => void writeSync(1, `${line}\n`);

async function addOne(number: number): Promise<void> {
  const { id } = await store.machines.add(sampleMachine(number));
  tell(`machine ${number} ${id}`);
  await Promise.all([
    store.assignments
      .saveAll([sampleAssignment(id, { id: `as_${number}`, target: role("worker", { number }) })])
      .then(() => tell(`assignment ${number} ${number}`)),
    store.claims
      .mint(sampleClaim(id, { hash: hashSecret(`claim ${number}`), expiresAt: Date.now() + 3_600_000 }))
      .then(() => tell(`claim ${number} ${hashSecret(`claim ${number}`)}`)),
    store.tokens
      .add({
        id: `t_${number}`,
        name: `token-${number}`,
        scope: "viewer",
        hash: hashSecret(`token ${number}`),
        createdAt: number,
        expiresAt: undefined,
      })
      .then(() => tell(`token ${number} ${hashSecret(`token ${number}`)}`)),
    store.events
      .append({ type: "machine.added", machineId: id, message: `number ${number}` })
      .then(({ seq }) => tell(`event ${number} ${seq}`)),
  ]);
  // The same lease and the same machine again and again: a later value may be there, an earlier one may not.
  for (let round = 1; round <= 3; round++) {
    await store.leases.save(sampleLease(number, { expiresAt: round }));
    tell(`lease ${number} ${round}`);
    await store.machines.update(id, (machine) => ({ ...machine, ramBytes: round }));
    tell(`change ${number} ${round}`);
  }
}

async function writeForEver(from: number, step: number): Promise<never> {
  for (let number = from; ; number += step) await addOne(number);
}
const writers = 8;
await Promise.all(
  Array.from({ length: writers }, (_, index) => writeForEver(Number(first) + index, writers)),
);
