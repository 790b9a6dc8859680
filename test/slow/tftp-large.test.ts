/** Not a part of `npm test`: half a minute for one transfer. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import t from "tap";
import { systemClock } from "../../server/platform/clock.ts";
import { silentLog } from "../../server/platform/logger.ts";
import { directoryRoute } from "../../server/tftp/file-routes.ts";
import { startTftpThread } from "../../server/tftp-thread.ts";
import { loopbackUdp } from "../support/loopback-udp.ts";
import { eventually, startTftpLab } from "../support/tftp-lab.ts";

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), "tftp-large-"));
t.teardown(() => rmSync(folder, { recursive: true }));

t.test(
  "a sparse file of more than 4 GiB, in blocks that pass number 65535 (RFC 2349, T-13)",
  { timeout: 300_000 },
  async (t) => {
    const size = 4 * 2 ** 30 + 70_001;
    const sparse = join(folder, "sparse");
    writeFileSync(sparse, "");
    truncateSync(sparse, size);
    const mark = Buffer.from("the end");
    const handle = await open(sparse, "r+");
    await handle.write(mark, 0, mark.length, size - mark.length);
    await handle.close();
    const thread = await startTftpThread({ udp: loopbackUdp, clock: systemClock, log: silentLog });
    if (thread === undefined) throw new Error("koffi is not installed");
    t.teardown(() => thread.stop());
    const { address, contacts } = await startTftpLab(t, [directoryRoute(folder, undefined)], {
      limits: { maxBlockSizeBytes: 65_464, maxWindowBlocks: 64 },
    });
    const words = ["--option", "blksize 65464", "--option", "tsize 0"];
    await run("atftp", [
      ...words,
      "-g",
      "-r",
      "sparse",
      "-l",
      "/dev/null",
      "127.0.0.1",
      String(address.port),
    ]);
    await eventually(() => contacts.length === 1);
    t.match(contacts, [{ outcome: "complete", sizeBytes: size, sentBytes: size }]);
    t.ok(size / 65_464 > 65_536);
  },
);
