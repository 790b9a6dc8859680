import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import {
  componentsOf,
  formatSources,
  parseDeb822,
  parseOneLine,
  selectAptOptions,
  selectDebianSources,
} from "../../server/image/apt-sources.ts";
import { bootstrapCommand, buildEnvironment, squashCommand } from "../../server/image/build-commands.ts";
import { buildImage } from "../../server/image/build-image.ts";
import { createProgressReader } from "../../server/image/build-progress.ts";
import { ImageError } from "../../server/image/image-error.ts";
import { addIngredients, ingredientsOf } from "../../server/image/ingredients.ts";
import { parseRootFacts } from "../../server/image/image-manifest.ts";
import { packagesFor, parseRecipe } from "../../server/image/recipe.ts";
import { runPipeline } from "../../server/image/run-command.ts";

const recipeDir = join(import.meta.dirname, "../../server/image/recipes/debian-node");
const recipe = parseRecipe(readFileSync(join(recipeDir, "recipe.yaml"), "utf8"));
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** The archive of a third party that calls its suite by Debian's name, in both ways there are. */
const hostSources = `# a comment
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main non-free-firmware
Signed-By: ${keyring}

Types: deb
URIs: http://user:secret@mirror.example/debian-security
Suites: bookworm-security
Components: main

Types: deb
URIs: http://vendor.example/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/vendor.gpg

Types: deb
URIs: http://old.example/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
`;

t.test("the shipped recipe is read, and says what the product needs", (t) => {
  t.match(recipe, { name: "debian-node", suite: "bookworm", architecture: "amd64" });
  for (const name of ["linux-image-amd64", "cloud-init", "openssh-server", "busybox", "initramfs-tools"]) {
    t.ok(recipe.packages.includes(name), name);
  }
  t.ok(recipe.units.enable.includes("systemd-networkd.service"));
  t.ok(recipe.units.mask.includes("apt-daily.timer"));
  t.end();
});

t.test("a recipe with a fault is refused by its key", (t) => {
  const good = readFileSync(join(recipeDir, "recipe.yaml"), "utf8");
  const faults: readonly (readonly [string, RegExp])[] = [
    [`${good}\ncolour: blue\n`, /unknown key colour/],
    [good.replace("suite: bookworm", "suite: 'book worm'"), /suite/],
    [good.replace("- cloud-init\n", "- 'cloud-init, evil'\n"), /packages\[\d+\]/],
    [good.replace("- fstrim.timer", "- ../../etc/passwd"), /units\.mask\[\d+\]/],
    [good.replace(/level: \d+/, "level: 99"), /squashfs\.level/],
    [good.replace(/blockKiB: \d+/, "blockKiB: 100"), /squashfs\.blockKiB/],
    [good.replace("architecture: amd64", "architecture: m68k"), /architecture/],
    [`${good}\nfiles: [{ path: ../etc/x, content: a }]\n`, /files\[0\]\.path/],
    [`${good}\nfiles: [{ path: /etc/../../x, content: a }]\n`, /files\[0\]\.path/],
    [`${good}\nfiles: [{ path: /etc/x }]\n`, /files\[0\]\.content/],
    [`${good}\nfiles: [{ path: /etc/x, content: a, mode: 7 }]\n`, /unknown key files\[0\]\.mode/],
    [
      `${good}\naptSources: [{ uri: "http://x/ deb", suite: a, components: [main], key: k.asc }]\n`,
      /aptSources\[0\]\.uri/,
    ],
    [
      `${good}\naptSources: [{ uri: "http://x/", suite: a, components: [main], key: ../k.asc }]\n`,
      /aptSources\[0\]\.key/,
    ],
    ["- a list", /table/],
    ["name: [", /not YAML/],
  ];
  for (const [text, message] of faults) {
    t.throws(() => parseRecipe(text), { name: "ImageError", code: "IMAGE_RECIPE_INVALID", message });
  }
  t.end();
});

t.test("a recipe that extends one of ours has all of it, and what it adds", (t) => {
  const ours = readFileSync(join(recipeDir, "recipe.yaml"), "utf8");
  const shipped = (name: string) => (name === "debian-node" ? ours : undefined);
  const kiosk = parseRecipe(
    `name: kiosk
extends: debian-node
packages: [kiosk-browser]
units: { mask: [ssh.service] }
keepModules: [sound]
dropModules: [net/sctp]
squashfs: { level: 15 }
`,
    shipped,
  );
  t.match(kiosk, { name: "kiosk", extends: "debian-node", suite: recipe.suite });
  t.same(kiosk.packages, [...recipe.packages, "kiosk-browser"]);
  t.same(kiosk.units, { ...recipe.units, mask: [...recipe.units.mask, "ssh.service"] });
  t.same(kiosk.dropModules, [...recipe.dropModules.filter((folder) => folder !== "sound"), "net/sctp"]);
  t.same(kiosk.squashfs, { ...recipe.squashfs, level: 15 });
  const faults: readonly (readonly [string, RegExp])[] = [
    ["name: a\nextends: nothing\n", /extends names nothing/],
    ["name: a\nextends: ../debian-node\n", /^extends/],
    [
      "name: a\nextends: debian-node\nkeepModules: [fs/ext4]\n",
      /keepModules names fs\/ext4, which is not dropped/,
    ],
    ["name: a\nextends: debian-node\ncolour: blue\n", /unknown key colour/],
  ];
  for (const [text, message] of faults)
    t.throws(() => parseRecipe(text, shipped), { code: "IMAGE_RECIPE_INVALID", message });
  const desktop = readFileSync(join(recipeDir, "../debian-desktop/recipe.yaml"), "utf8");
  t.match(parseRecipe(desktop, shipped), { name: "debian-desktop", extends: "debian-node" });
  t.throws(() => parseRecipe("name: a\nextends: b\n", () => desktop), {
    message: /extends another recipe itself/,
  });
  t.end();
});

t.test("programs and container images are taken by their digests, and by no other", async (t) => {
  const directory = t.testdir({
    kubernetes: { kubelet: "a kubelet", "kube-proxy": "no program of a node", "pause.tar": "an image" },
    root: {},
  });
  const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
  const kubernetes = join(directory, "kubernetes");
  const root = join(directory, "root");
  const good = `name: a
extends: debian-node
programs: { directory: kubernetes, sha256: { kubelet: ${sha256("a kubelet")} } }
containerImages: [{ file: kubernetes/pause.tar, sha256: ${sha256("an image")} }]
`;
  const read = (text: string) =>
    parseRecipe(text, () => readFileSync(join(recipeDir, "recipe.yaml"), "utf8"));
  await addIngredients(root, directory, read(good));
  t.equal(readFileSync(join(root, "usr/bin/kubelet"), "utf8"), "a kubelet");
  t.equal(statSync(join(root, "usr/bin/kubelet")).mode & 0o777, 0o755, "it can be run");
  t.equal(readFileSync(join(root, "usr/share/rollcall/images/pause.tar"), "utf8"), "an image");

  const other = sha256("another");
  await t.rejects(addIngredients(root, directory, read(good.replace(sha256("a kubelet"), other))), {
    code: "IMAGE_FILE_MISMATCH",
    message: `${kubernetes}/kubelet has the SHA-256 ${sha256("a kubelet")}, and should have ${other}`,
  });
  t.notOk(existsSync(join(root, "usr/bin/kubelet")), "a wrong one does not stay");
  await t.rejects(addIngredients(root, directory, read(good.replace("kubelet:", "kubeadm:"))), {
    code: "IMAGE_FILE_MISSING",
    message: `failed to read ${kubernetes}/kubeadm, which should have the SHA-256 ${sha256("a kubelet")}`,
  });
  const faults: readonly (readonly [string, RegExp])[] = [
    [good.replace("kubelet:", "sshd:"), /unknown key programs\.sha256\.sshd/],
    [good.replace(sha256("a kubelet"), "0123"), /programs\.sha256\.kubelet/],
    [good.replace("pause.tar", "pause.tar; reboot"), /containerImages\[0\]\.file/],
    [good.replace("pause.tar", "pause.zip"), /containerImages\[0\]\.file/],
    [good.replace("[{ file", `[{ file: x/pause.tar, sha256: ${other} }, { file`), /two files pause\.tar/],
  ];
  for (const [text, message] of faults)
    t.throws(() => read(text), { code: "IMAGE_RECIPE_INVALID", message }, String(message));

  await t.rejects(ingredientsOf(kubernetes), {
    code: "IMAGE_DIGESTS_INVALID",
    message: /SHA256SUMS is not there/,
  });
  const list = (...names: readonly string[]) =>
    writeFileSync(
      join(kubernetes, "SHA256SUMS"),
      names.map((name) => `${sha256(readFileSync(join(kubernetes, name), "utf8"))}  ${name}\n`).join(""),
    );
  list("kube-proxy");
  await t.rejects(ingredientsOf(kubernetes), { message: /names nothing that an image takes/ });
  list("kubelet", "kube-proxy", "pause.tar");
  t.same(await ingredientsOf(kubernetes), {
    programs: { directory: kubernetes, sha256: { kubelet: sha256("a kubelet") } },
    containerImages: [{ file: join(kubernetes, "pause.tar"), sha256: sha256("an image") }],
  });
});

t.test("of the host's sources only the Debian archive of the suite is used", (t) => {
  const selected = selectDebianSources(parseDeb822(hostSources), "bookworm");
  t.same(
    selected.map(({ uris, suites }) => [uris[0], suites]),
    [
      ["http://mirror.example/debian", ["bookworm", "bookworm-updates"]],
      ["http://user:secret@mirror.example/debian-security", ["bookworm-security"]],
    ],
  );
  t.same([...componentsOf(selected)], ["main", "non-free-firmware"]);
  t.same(selectDebianSources(parseDeb822(hostSources), "trixie"), []);
  t.end();
});

t.test("one-line sources are read like the others", (t) => {
  const sources = parseOneLine(`# deb http://off.example/debian bookworm main
deb [arch=amd64 signed-by=${keyring}] http://mirror.example/debian bookworm main contrib # a remark
deb-src http://mirror.example/debian bookworm main
deb https://vendor.example/apt bookworm stable
deb http://vendor.example/sdk cloud-sdk-bookworm main
`);
  t.equal(sources.length, 3);
  t.same(selectDebianSources(sources, "bookworm"), [
    {
      uris: ["http://mirror.example/debian"],
      suites: ["bookworm"],
      components: ["main", "contrib"],
      signedBy: keyring,
    },
  ]);
  t.end();
});

t.test("the sources that stay in the image hold no password, and every one names a key", (t) => {
  const text = formatSources(selectDebianSources(parseDeb822(hostSources), "bookworm"), keyring);
  t.notMatch(text, /secret/);
  t.match(text, /^URIs: http:\/\/mirror\.example\/debian-security$/m);
  t.equal(text.match(/^Signed-By: /gm)?.length, 2);
  t.same(
    parseDeb822(text).map((source) => source.signedBy),
    [keyring, keyring],
  );
  t.end();
});

t.test("of apt's settings the way to the mirror is taken over, nothing that weakens its checks", (t) => {
  const dump = [
    'Acquire::http::Proxy "http://proxy.example:3142";',
    'Acquire::Check-Valid-Until "false";',
    'Acquire::AllowInsecureRepositories "1";',
    'APT::Get::AllowUnauthenticated "1";',
    'Acquire::https::Verify-Peer "false";',
    'Acquire::http::Proxy "";',
  ].join("\n");
  t.same(selectAptOptions(dump), [
    'Acquire::http::Proxy "http://proxy.example:3142"',
    'Acquire::Check-Valid-Until "false"',
  ]);
  t.end();
});

t.test("the argument list of mmdebstrap", (t) => {
  const facts = {
    mode: "root",
    stageDir: "/var/tmp/a 'b",
    sourcesFiles: ["/var/tmp/a 'b/debian.sources"],
    components: new Set(["main"]),
    aptOptions: ['Acquire::Retries "3"'],
  } as const;
  const { program, args } = bootstrapCommand(recipe, facts);
  t.equal(program, "mmdebstrap");
  t.same(args.slice(-3), ["bookworm", "-", facts.sourcesFiles[0]]);
  t.ok(args.includes("--mode=root"));
  t.ok(args.includes('--aptopt=Acquire::Retries "3"'));
  t.ok(args.includes("--dpkgopt=path-exclude=/lib/modules/*/kernel/sound/*"));
  t.ok(args.includes(`--include=${recipe.packages.join(",")}`));
  // The one place where a path is parsed again: mmdebstrap's own hooks.
  t.ok(args.includes(`--customize-hook=download /boot/facts '/var/tmp/a '\\''b/facts'`));
  const withFirmware = bootstrapCommand(recipe, {
    ...facts,
    components: new Set(["main", "non-free-firmware"]),
  });
  t.match(withFirmware.args.join(" "), /firmware-bnx2/);
  t.equal(packagesFor(recipe, new Set()).length, recipe.packages.length);
  t.equal(
    bootstrapCommand(recipe, { ...facts, sourcesFiles: [] }).args.at(-1),
    "-",
    "mmdebstrap's own default",
  );
  t.end();
});

t.test("the argument list of mksquashfs and the environment of both", (t) => {
  t.same(squashCommand(recipe, "/out/root.squashfs", "root").args.slice(0, 3), [
    "-",
    "/out/root.squashfs",
    "-tar",
  ]);
  const asUser = squashCommand(recipe, "x", "unshare");
  t.match(
    asUser,
    { program: "unshare", args: ["--map-root-user", "mksquashfs", "-", "x"] },
    "/ belongs to root",
  );
  const lz4 = { ...recipe, squashfs: { ...recipe.squashfs, compression: "lz4" } } as const;
  t.notMatch(squashCommand(lz4, "x", "root").args, ["-Xcompression-level"]);
  const environment = buildEnvironment(
    recipe,
    { PATH: "/usr/bin", SECRET_TOKEN: "x", http_proxy: "http://p" },
    "/stage",
  );
  t.match(environment, {
    PATH: "/usr/bin",
    http_proxy: "http://p",
    SOURCE_DATE_EPOCH: "1735689600",
    INITRD: "No",
  });
  t.notOk("SECRET_TOKEN" in environment, "what packages' scripts run with holds no secrets of the caller");
  t.equal(buildEnvironment(recipe, { SOURCE_DATE_EPOCH: "7" }, "/stage")["SOURCE_DATE_EPOCH"], "7");
  t.end();
});

t.test("progress is read from the log and never goes back", (t) => {
  const read = createProgressReader();
  const lines = [
    "I: running apt-get update...",
    "I: installing essential packages...",
    "I: installing remaining packages inside the chroot...",
    "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
    "Unpacking a (1) ...",
    "Unpacking b (1) ...",
    "Setting up a (1) ...",
    "Setting up b (1) ...",
    "rollcall: building the initrd",
    "I: running apt-get update...",
  ];
  const seen = lines.map((line) => read(line)).filter((progress) => progress !== undefined);
  const percentages = seen.map(({ percent }) => percent);
  t.same(
    percentages,
    [...percentages].sort((a, b) => a - b),
  );
  t.match(seen.at(-1), { step: "building the initrd" });
  t.ok(percentages.length >= 7);
  t.end();
});

t.test("facts about the root are whole or refused", (t) => {
  const text = "kernelRelease=6.1.0-1-amd64\ndebianVersion=12.9\npackages=214\n";
  t.same(parseRootFacts(text), { kernelRelease: "6.1.0-1-amd64", debianVersion: "12.9", packages: 214 });
  t.equal(parseRootFacts(text.replace("214", "")), undefined);
  t.equal(parseRootFacts(""), undefined);
  t.end();
});

t.test("a missing tool is named with its package before anything is done", async (t) => {
  const path = process.env["PATH"];
  process.env["PATH"] = t.testdir();
  t.teardown(() => (process.env["PATH"] = path));
  const outputDir = join(t.testdirName, "out");
  const failure: unknown = await buildImage({ recipeDir, outputDir }).catch((error: unknown) => error);
  t.ok(failure instanceof ImageError);
  t.match(failure, {
    code: "IMAGE_TOOL_MISSING",
    message: /mmdebstrap and mksquashfs/,
    advice: /apt-get install .*mmdebstrap squashfs-tools/,
  });
  t.throws(() => statSync(outputDir), { code: "ENOENT" });
});

t.test("a directory that is no recipe is refused", async (t) => {
  await t.rejects(buildImage({ recipeDir: t.testdir(), outputDir: join(t.testdirName, "out") }), {
    code: "IMAGE_RECIPE_INVALID",
  });
});

t.test(
  "a pipeline blames the program that failed first, and a cancelled one ends with its children",
  async (t) => {
    const shell = (script: string) => ({ program: "sh", args: ["-c", script] });
    const options = { env: { PATH: process.env["PATH"] ?? "" }, onLine: () => {}, signal: undefined };
    t.match(await runPipeline(shell("echo ok"), shell("cat >&2"), options), {
      failure: undefined,
      isCancelled: false,
    });
    t.match(await runPipeline(shell("echo broken >&2; exit 25"), shell("cat; exit 1"), options), {
      failure: { program: "sh", exitCode: 25, tail: ["broken"] },
    });
    t.match(await runPipeline(shell("sleep 60"), shell("echo no such option; exit 2"), options), {
      failure: { exitCode: 2, tail: ["no such option"] },
    });
    t.match(await runPipeline({ program: "no-such-program", args: [] }, shell("cat"), options), {
      failure: { program: "no-such-program", exitCode: 127 },
    });

    const abort = new AbortController();
    const running = runPipeline(shell("sleep 60 & echo started >&2; wait"), shell("cat"), {
      ...options,
      signal: abort.signal,
      onLine: () => abort.abort(),
    });
    t.match(await running, { isCancelled: true });
  },
);

t.test("every script of the image is accepted by the shells that run it", (t) => {
  const scripts = [join(recipeDir, "../../finish-root.sh"), ...shellScriptsBelow(recipeDir)];
  t.ok(scripts.length >= 8, `${scripts.length} scripts`);
  const hasBusybox = spawnSync("busybox", ["true"]).status === 0;
  for (const script of scripts) {
    t.doesNotThrow(() => execFileSync("sh", ["-n", script]), `sh -n ${script}`);
    if (hasBusybox)
      t.doesNotThrow(() => execFileSync("busybox", ["sh", "-n", script]), `busybox sh -n ${script}`);
    t.notMatch(readFileSync(script, "utf8"), /\beval\b(?!uate)/, `${script} evaluates nothing`);
  }
  t.end();
});

t.test("what is run as a program may be run", (t) => {
  for (const file of [
    "initramfs/hooks/rollcall",
    "initramfs/scripts/rollcall.d/dhcp-event",
    "overlay/usr/lib/rollcall/await-server",
    "overlay/usr/lib/rollcall/make-host-keys",
    "overlay/usr/lib/rollcall/report-hardware",
  ]) {
    t.ok((statSync(join(recipeDir, file)).mode & 0o100) !== 0, file);
  }
  t.end();
});

t.test("the boot script reads the kernel command line by its contract", (t) => {
  const digest = "ab".repeat(32);
  const read = (words: string, more = ":"): string => {
    const directory = mkdtempSync(join(t.testdir(), "case-"));
    // The functions are the shipped ones; only the file that they read is another.
    const source = readFileSync(join(recipeDir, "initramfs/scripts/rollcall"), "utf8")
      .replaceAll("/proc/cmdline", join(directory, "cmdline"))
      .replace(/^\. \/scripts.*$/gm, "");
    return execFileSync(
      "sh",
      [
        "-c",
        `printf '%s\\n' "$1" > "$2/cmdline"; ${source}\nrollcall_read_command_line; rollcall_command_line_is_complete && echo complete; printf '%s|' "$rollcall_url" "$rollcall_size" "$rollcall_callback" "$rollcall_mac"; ${more}`,
        "sh",
        words,
        directory,
      ],
      { encoding: "utf8" },
    );
  };
  const root = "rollcall.root=http://10.0.0.1:8080/assets/x/root.squashfs";
  t.equal(
    read(
      `boot=rollcall BOOTIF=01-52-54-00-AB-00-04 ${root} rollcall.sha256=${digest} rollcall.size=123 rollcall.callback=http://10.0.0.1/callback/c/`,
    ),
    "complete\nhttp://10.0.0.1:8080/assets/x/root.squashfs|123|http://10.0.0.1/callback/c|52:54:00:ab:00:04|",
  );
  t.equal(
    read(`${root} rollcall.sha256=${digest.slice(2)}zz`),
    "http://10.0.0.1:8080/assets/x/root.squashfs|0|||",
    "no digest",
  );
  const seeded = "ds=nocloud-net;s=http://10.0.0.1/boot/claims/c/cloud-init/";
  const configured = (words: string) =>
    read(words, 'printf "%s|" "$rollcall_ignition_url" "$rollcall_has_seed"').split("|").slice(4, 6);
  t.same(configured(`${root} ${seeded}`), ["", "yes"], "cloud-init");
  t.same(
    configured(`${root} ignition.config.url=http://10.0.0.1/boot/claims/c/ignition.json`),
    ["http://10.0.0.1/boot/claims/c/ignition.json", ""],
    "Ignition",
  );
  t.same(configured(`${root} ignition.config.url=file:///etc/passwd`), ["", ""], "only http");
  t.match(
    read(`rollcall.root=file:///etc/passwd rollcall.sha256=${digest} rollcall.size=$(id)`),
    /^\|0\|/,
    "only http, only digits",
  );
  t.end();
});

t.test("of what Ignition prints only its log is told, without claims, hashes and the config", (t) => {
  const directory = t.testdir();
  const source = readFileSync(join(recipeDir, "initramfs/scripts/rollcall.d/ignition"), "utf8").replaceAll(
    "/run/rollcall",
    directory,
  );
  const printed = [
    "INFO     : Ignition Debian 2.14.0",
    "INFO     : Stage: files",
    'INFO     : no config dir at "/usr/lib/ignition/base.d"',
    'DEBUG    : parsed url from cmdline: "http://10.0.0.1/boot/claims/secretclaim/ignition.json"',
    "INFO     : GET http://10.0.0.1/boot/claims/secretclaim/ignition/role.json: attempt #1",
    'INFO     : files: op(1): [started]  writing file "/etc/lab"',
    'CRITICAL : files: op(2): [failed]   creating user "a": exit status 6: Cmd: "useradd" "--password" "$6$hash" Stdout: "" Stderr: "no group"',
    "files failed",
    "Full config:",
    "{",
    '  "passwordHash": "$6$hash"',
    "}",
    'CRITICAL : Ignition failed: failed to create user "a": exit status 6: Cmd: "useradd" "--password" "$6$hash" Stdout: "" Stderr: "no group"',
    "",
  ].join("\n");
  const script = `rollcall_say() { printf '%s\\n' "$*"; }\n${source}\nrollcall_ignition_base=http://10.0.0.1/boot/claims/secretclaim/\nrollcall_ignition_tell`;
  for (const shell of [["sh"], ["busybox", "sh"]]) {
    const [program = "sh", ...words] = shell;
    const said = execFileSync(program, [...words, "-c", script], { encoding: "utf8", input: printed });
    t.equal(
      said,
      [
        "ignition: GET .../ignition/role.json: attempt #1",
        'ignition: files: op(1): [started]  writing file "/etc/lab"',
        'ignition: CRITICAL : files: op(2): [failed]   creating user "a": exit status 6: "no group"',
        'ignition: failed to create user "a": exit status 6: "no group"',
        "",
      ].join("\n"),
      shell.join(" "),
    );
  }
  t.end();
});

function shellScriptsBelow(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).flatMap((entry) => {
    const path = join(entry.parentPath, entry.name);
    const isScript =
      entry.isFile() &&
      (path.includes("/initramfs/scripts/") || readFileSync(path, "utf8").startsWith("#!/bin/sh"));
    return isScript ? [path] : [];
  });
}
