import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createClient } from "../../server/cli/client.ts";
import { root } from "../../server/platform/checkout.ts";
import { authoritativeConfig } from "../support/lab-configs.ts";
import {
  type ClientProgram,
  createRoom,
  dropAtRandom,
  type Room,
  type RoomClient,
  startLossyBridge,
} from "../support/lossy-room.ts";

const programs: readonly ClientProgram[] = [
  "udhcpc",
  "udhcpc",
  "udhcpc",
  "dhclient",
  "dhclient",
  "dhcpcd",
  "dhcpcd",
];
const sha256 = (content: Uint8Array) => createHash("sha256").update(content).digest("hex");

/** All clients at once, twice: a lease each, nobody's address twice, the same one again, and files arrive as they are. */
async function checkLeases(t: Test, room: Room, clients: readonly RoomClient[]): Promise<void> {
  const leases = await Promise.all(clients.map((client) => room.lease(client)));
  t.equal(new Set(leases.map(({ address }) => address)).size, clients.length, "no address is given twice");
  for (const [index, { address, server }] of leases.entries())
    t.match(
      { address, server },
      { address: /^10\.77\.0\.1\d\d$/, server: "10.77.0.1" },
      `${clients[index]?.program}`,
    );
  const again = await Promise.all(clients.map((client) => room.lease(client)));
  t.same(
    again.map(({ address }) => address),
    leases.map(({ address }) => address),
    "and each gets its own again",
  );
}

async function checkContent(t: Test, room: Room, clients: readonly RoomClient[]): Promise<void> {
  const name = "undionly.kpxe";
  const whole = sha256(readFileSync(join(root, "boot-assets", name)));
  for (const client of clients) {
    t.equal(
      sha256(await room.fetch(client, `tftp://10.77.0.1/${name}`)),
      whole,
      "TFTP brings the file whole",
    );
    t.equal(sha256(await room.fetch(client, `http://10.77.0.1:8080/nbp/${name}`)), whole, "and so does HTTP");
  }
}

t.test(
  "20 % lost each way (nftables): udhcpc, dhclient and dhcpcd get leases, no address twice, right content",

  async (t) => {
    const room = await createRoom(t, `rcl${process.pid}a`, authoritativeConfig);
    const clients = await room.addClients("br0", programs);
    const lost = await dropAtRandom(
      room.lab.run,
      clients.map(({ name }) => `v-${name}`),
      20,
    );
    await checkLeases(t, room, clients);
    await checkContent(t, room, clients.slice(0, 1));
    const count = await lost();
    t.ok(count > 10, `${count} frames were lost`);
  },
);

t.test(
  "10 % lost, 20 % doubled and 30 % late each way: the same, and no binding is made twice",

  async (t) => {
    const room = await createRoom(t, `rcl${process.pid}b`, authoritativeConfig);
    const clients = await room.addClients("br1", programs);
    const end = await startLossyBridge(room.lab, {
      bridges: ["br0", "br1"],
      seed: 20261121,
      drop: 0.1,
      duplicate: 0.2,
      delay: 0.3,
      delayMs: 150,
    });
    await checkLeases(t, room, clients);
    await checkContent(t, room, clients.slice(0, 1));
    const counts = await end();
    t.comment(JSON.stringify(counts));
    for (const kind of ["dropped", "duplicated", "delayed"] as const)
      t.ok(counts[kind] > 5, `${counts[kind]} ${kind}`);
    const client = createClient({ server: undefined, token: undefined, dataDirs: [room.server.dataDir] });
    const { items } = await client.get<{ items: { type: string }[] }>("/events?type=dhcp.conflict");
    await client.close();
    t.same(items, [], "nobody found its address in use");
  },
);
