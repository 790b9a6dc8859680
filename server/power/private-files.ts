import { lstat, mkdtemp, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

/** The process that it belongs to stands in its name: whoever comes after a process that was killed can tell. */
const namePattern = /^rollcall-([1-9][0-9]{0,9})-[A-Za-z0-9]{6}$/;

/** A directory of mode 0700, for secrets that a program reads from files. */
export function makePrivateDirectory(place: string): Promise<string> {
  return mkdtemp(join(place, `rollcall-${process.pid}-`));
}

/**
 * Removes what servers that were killed in the middle of a call left behind (SIGKILL lets nobody tidy up): directories of ours, of our user
 * and open to that alone, whose process is gone. @returns how many
 */
export async function sweepPrivateDirectories(place: string): Promise<number> {
  let swept = 0;
  for (const name of await readdir(place).catch(() => [])) {
    const pid = Number(namePattern.exec(name)?.[1] ?? 0);
    if (pid === 0) continue;
    const path = join(place, name);
    // Gone in between: somebody else tidies up too.
    const found = await lstat(path).catch(() => undefined);
    if (!found?.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o777) !== 0o700) continue;
    if (isAlive(pid, found.mtimeMs)) continue;
    // What can't be removed now keeps no server from starting: the next start tries again.
    const isGone = await rm(path, { recursive: true, force: true }).then(
      () => true,
      () => false,
    );
    if (isGone) swept += 1;
  }
  return swept;
}

/** In a container each server has the same number: what is older than this process is not this one's. */
function isAlive(pid: number, madeAt: number): boolean {
  if (pid === process.pid) return madeAt >= Math.floor(performance.timeOrigin);
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
