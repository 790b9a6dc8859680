import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Test } from "tap";

const artifact = resolve(import.meta.dirname, "../artifacts/arm64/vmlinuz");
/** Debian's smallest kernel for arm64; the package only names the newest one. */
const metaPackage = "linux-image-cloud-arm64";

/**
 * Debian's arm64 kernel, fetched once and checked by the archive's signature. This host's apt and dpkg learn nothing of the
 * other architecture: the fetching apt has its own lists and its own (empty) list of installed packages.
 * @returns the kernel's path
 */
export function ensureArm64Kernel(t: Test): string {
  if (existsSync(artifact)) return artifact;
  t.comment(`fetching ${metaPackage}`);
  const work = mkdtempSync(join(tmpdir(), "rollcall-arm64-"));
  t.teardown(() => rmSync(work, { recursive: true, force: true }));
  for (const directory of ["lists/partial", "cache/archives/partial"])
    mkdirSync(join(work, directory), { recursive: true });
  writeFileSync(join(work, "status"), "");
  writeFileSync(join(work, "sources.list"), debianSources());
  const options = [
    "APT::Architecture=arm64",
    "APT::Architectures::=arm64",
    `Dir::State=${work}`,
    `Dir::State::lists=${work}/lists`,
    `Dir::State::status=${work}/status`,
    `Dir::Cache=${work}/cache`,
    `Dir::Etc::sourcelist=${work}/sources.list`,
    "Dir::Etc::sourceparts=-",
    "Acquire::Languages=none",
    "APT::Sandbox::User=root",
  ].flatMap((option) => ["-o", option]);
  const apt = (program: string, ...words: string[]) =>
    execFileSync(program, [...options, ...words], {
      cwd: work,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  apt("apt-get", "update");
  const kernel = /Depends: (linux-image-\S+)/.exec(apt("apt-cache", "depends", metaPackage))?.[1];
  if (kernel === undefined) throw new Error(`${metaPackage} names no kernel`);
  apt("apt-get", "download", kernel);
  const archive = readdirSync(work).find((name) => name.endsWith(".deb")) ?? "";
  execFileSync("dpkg-deb", ["-x", archive, "tree"], { cwd: work });
  const image = readdirSync(join(work, "tree/boot")).find((name) => name.startsWith("vmlinuz")) ?? "";
  mkdirSync(join(artifact, ".."), { recursive: true });
  copyFileSync(join(work, "tree/boot", image), artifact);
  return artifact;
}

/** The mirrors of Debian's own archive that this host uses. */
function debianSources(): string {
  const targets = execFileSync(
    "apt-get",
    ["indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages"],
    { encoding: "utf8" },
  );
  const lines = targets
    .split("\n")
    .map((line) => /^Debian (\S+) (\S+) main$/.exec(line))
    .flatMap((match) => (match ? [`deb ${match[1]} ${match[2]} main`] : []));
  return `${[...new Set(lines)].join("\n")}\n`;
}
