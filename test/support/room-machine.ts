import { createInterface } from "node:readline";
import { once } from "node:events";
import { execFile } from "node:child_process";
import type { Test } from "tap";
import type { Lan } from "./namespaces.ts";
import { temporaryDirectory } from "./samples.ts";

export interface Said {
  readonly code: number;
  readonly stdout: string;
  /** Both streams. */
  readonly said: string;
}

/** A machine of a room: what is written to its files stays there from one program to the next, and this host sees none of it. */
export interface RoomMachine {
  /** Runs a program as root. */
  root(...words: string[]): Promise<Said>;
  /** Runs a program as one of the machine's users, in his home. */
  as(user: string, ...words: string[]): Promise<Said>;
}

/** Directories that a machine has of its own, as layers over this host's. */
const ownDirectories = ["etc", "home", "var"];

/** The first process of the machine: the others end with it. Prints its number. */
const first = `read -r number rest </proc/self/stat
mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs "$1"
for part in ${ownDirectories.join(" ")}; do
	mkdir "$1/$part" "$1/$part.work"
	mount -t overlay overlay -o "lowerdir=/$part,upperdir=$1/$part,workdir=$1/$part.work" "/$part"
done
mkdir -p /etc/containers
printf '[storage]\\ndriver = "vfs"\\n' >/etc/containers/storage.conf
printf '[engine]\\ncgroup_manager = "cgroupfs"\\nevents_logger = "none"\\n' >/etc/containers/containers.conf
echo '127.0.0.1 localhost' >/etc/hosts
echo "$number"
exec cat`;

/** A machine in a host's network namespace, with processes, mounts, users and configuration of its own, and podman as it can work there. */
export async function createRoomMachine(t: Test, lan: Lan, host: string): Promise<RoomMachine> {
  const namespaces = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"];
  const layers = temporaryDirectory(t);
  const child = lan.start(host, ["unshare", ...namespaces, "sh", "-ec", first, "sh", layers]);
  if (!child.stdout) throw new Error("no standard output");
  const [number] = (await once(createInterface(child.stdout), "line")) as [string];

  const run = (words: readonly string[], home: string) =>
    new Promise<Said>((resolve, reject) =>
      execFile(
        "nsenter",
        ["--target", number, "--mount", "--net", "--pid", `--wdns=${home}`, "--", ...words],
        {
          env: { PATH: process.env["PATH"], LC_ALL: "C", HOME: home, XDG_RUNTIME_DIR: home },
          encoding: "utf8",
          maxBuffer: 16 * 1024 * 1024,
        },
        (error, stdout, stderr) => {
          if (error && typeof error.code !== "number") reject(error);
          else resolve({ code: error ? Number(error.code) : 0, stdout, said: stdout + stderr });
        },
      ),
    );
  return {
    root: (...words) => run(words, "/var"),
    as: (user, ...words) => run(["runuser", "-u", user, "--", ...words], `/home/${user}`),
  };
}
