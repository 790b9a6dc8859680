/** What firmware loads over TFTP: first-stage programs, the first scripts, and files of boards. */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { AppDeps } from "./app.ts";
import type { BootService } from "./boot/boot-service.ts";
import { firstGrubConfig } from "./boot/grub-config.ts";
import { fileNamesIn, loadBootAssets } from "./content/boot-assets.ts";
import { boardFileNames } from "./dhcp/server.ts";
import type { RecordEvent } from "./domain/event.ts";
import type { Inventory } from "./inventory/inventory.ts";
import type { Ipv4 } from "./net/ipv4.ts";
import type { Mac } from "./net/mac.ts";
import type { Renderer } from "./render/documents.ts";
import { remember } from "./reread.ts";
import { tftpClients } from "./served-networks.ts";
import { bufferRoute, directoryRoute, sharedBetweenBoards } from "./tftp/file-routes.ts";
import { createTftpServer } from "./tftp/server.ts";

type TftpOptions = Parameters<typeof createTftpServer>[0];

export interface FirstFilesDeps
  extends
    Pick<AppDeps, "config" | "clock" | "log" | "interfaces" | "tftpEngine">,
    Pick<TftpOptions, "udp" | "bindings"> {
  readonly record: RecordEvent;
  readonly urlFor: (address: Ipv4) => string;
  readonly renderer: Renderer;
  readonly boots: BootService;
  readonly inventory: Inventory;
  readonly macAt: (address: Ipv4) => Mac | undefined;
  readonly assets: ReturnType<typeof loadBootAssets>["assets"];
  readonly boardFiles: string;
}

/** What there is of them on the disk; board files are looked at again while the server runs. */
export function openFirstFiles({
  config,
  clock,
  log,
  root,
}: Pick<AppDeps, "config" | "clock" | "log" | "root">) {
  const { assets, problems } = loadBootAssets(join(root, "boot-assets"));
  for (const problem of problems) log.warn({ code: problem.name }, problem.message);
  const boardFiles = join(config.dataDir, "tftp");
  mkdirSync(boardFiles, { recursive: true });
  const nbpNames = remember(
    clock,
    () => new Set([...assets.keys(), ...fileNamesIn(boardFiles).filter((name) => boardFileNames.has(name))]),
  );
  return { assets, problems, boardFiles, nbpNames };
}

export function serveFirstFiles({
  config,
  clock,
  log,
  interfaces,
  tftpEngine,
  udp,
  bindings,
  record,
  urlFor,
  renderer,
  boots,
  inventory,
  macAt,
  assets,
  boardFiles,
}: FirstFilesDeps) {
  const firstContact = (client: Ipv4, address: Ipv4) =>
    Buffer.from(renderer.standardScript("first-contact", client, { serverUrl: urlFor(address) }));
  return createTftpServer({
    udp,
    clock,
    log,
    bindings,
    engine: tftpEngine,
    singlePort: config.tftp.singlePort,
    clients: tftpClients(config, interfaces),
    clientAt: (address) => macAt(address as Ipv4) ?? address,
    onFallback({ client, from, to }) {
      const machine = inventory.findByMac(client as Mac);
      record({
        type: "tftp.fallback",
        level: "warning",
        machineId: machine?.id,
        message: `${machine?.name ?? client}: TFTP blocks of up to ${from.maxBlockSizeBytes} octets, ${from.maxWindowBlocks} at once, got lost; it gets ${to.maxBlockSizeBytes}, ${to.maxWindowBlocks} at once`,
        data: { client, from, to },
      });
    },
    routes: [
      bufferRoute("first contact", (name, { clientAddress, serverAddress }) =>
        name === "autoexec.ipxe" && !boots.disk.findsNothing(clientAddress)
          ? firstContact(clientAddress, serverAddress)
          : undefined,
      ),
      bufferRoute("GRUB's first contact", (name, { serverAddress }) =>
        name === "grub/grub.cfg" ? Buffer.from(firstGrubConfig(urlFor(serverAddress), renderer)) : undefined,
      ),
      bufferRoute("boot assets", (name) => assets.get(name)?.content),
      sharedBetweenBoards(directoryRoute(boardFiles, undefined, { name: "board files" })),
    ],
    onContact: boots.tftpContact,
  });
}
