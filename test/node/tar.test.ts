import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { tar, type TarMember } from "../../server/node/tar.ts";

const members: readonly TarMember[] = [
  { name: "instruction", mode: 0o644, content: "sequence=1\noperation=join\n" },
  { name: "files/etc/kubernetes/pki/ca.key", mode: 0o600, content: "x".repeat(512) },
  { name: "files/etc/kubernetes/empty", mode: 0o755, content: "" },
  { name: "files/etc/kubernetes/raw", mode: 0o644, content: Uint8Array.of(0, 255, 10, 0) },
  { name: `files/${"é".repeat(47)}`, mode: 0o644, content: "a name of 100 octets" },
];

t.test(
  "what is written is what the tar of GNU, busybox and libarchive unpack, names, modes and octets",
  (t) => {
    const archive = tar(members);
    for (const [name, ...words] of [
      ["tar", "-xpf", "-"],
      ["busybox", "tar", "-xpf", "-"],
      ["bsdtar", "-xpf", "-"],
    ] as const) {
      const directory = join(t.testdir(), name);
      mkdirSync(directory);
      execFileSync(name, words, { cwd: directory, input: archive });
      for (const { name: path, mode, content } of members) {
        t.same(readFileSync(join(directory, path)), Buffer.from(content), `${name}: ${path}`);
        t.equal(statSync(join(directory, path)).mode & 0o7777, mode, `${name}: mode of ${path}`);
      }
    }
    t.same(tar(members), archive, "the same members give the same octets");
    t.match(
      execFileSync("tar", ["-tvf", "-"], { input: archive, encoding: "utf8" }),
      /^-rw-r--r-- root\/root +26 1970/,
    );
    t.end();
  },
);

t.test(
  "an archive of nothing is empty, and one with a name, mode or member that has no place is not made",
  (t) => {
    t.equal(execFileSync("tar", ["-tf", "-"], { input: tar([]), encoding: "utf8" }), "");
    const refused = (member: Partial<TarMember>, why: RegExp) =>
      t.throws(
        () => tar([{ name: "one", mode: 0o644, content: "", ...member }]),
        why,
        JSON.stringify(member),
      );
    for (const name of ["", "/etc/x", "a/../b", "..", "./a", "a//b", "a/", "a\0b"])
      refused({ name }, /no plain path/);
    refused({ name: `${"é".repeat(50)}a` }, /more than 100 octets/);
    for (const mode of [-1, 0o10000, 0.5]) refused({ mode }, /no mode/);
    t.throws(() => tar([...members, ...members.slice(0, 1)]), /twice/);
    t.end();
  },
);
