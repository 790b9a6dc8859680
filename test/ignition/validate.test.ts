import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import t from "tap";
import { stringify as writeYaml } from "yaml";
import { configShape } from "../../server/ignition/config-shape.ts";
import { machinePart } from "../../server/ignition/machine-part.ts";
import { ignitionName, type Shape } from "../../server/ignition/shape.ts";
import { validateConfig } from "../../server/ignition/validate.ts";
import { createLocalFiles } from "../../server/render/role-folder.ts";
import { readIgnition } from "../../server/render/role-ignition.ts";
import { newestMinorOfDebian, validate } from "../support/ignition-run.ts";

/** Debian's Ignition reads 3.0 to 3.3; the same table of keys, row by row, is what we know of the later versions. */
const minors = fc.integer({ min: 0, max: newestMinorOfDebian });

const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
const path = fc
  .array(fc.stringMatching(/^[a-zA-Z0-9_.é -]{1,6}$/), { minLength: 1, maxLength: 3 })
  .map((parts) => `/w/${parts.map((part) => `x${part}`).join("/")}`);
const anything = fc.string({ unit: "binary", maxLength: 30 }).map((text) => text.toWellFormed());
const mode = fc.constantFrom(0o644, 0o755, 0o600, 0o400, 0o750, 0, 0o777);
const identity = fc.oneof(fc.record({ name }), fc.record({ id: fc.integer({ min: 0, max: 65535 }) }));
const optional = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: undefined });
const unique = <T>(of: fc.Arbitrary<T>, key: (one: T) => unknown) =>
  fc.uniqueArray(of, { selector: key, maxLength: 3 });
const unitText = fc
  .array(fc.tuple(fc.stringMatching(/^[A-Z][A-Za-z]{0,8}$/), fc.stringMatching(/^[ -~é]{0,30}$/)), {
    maxLength: 4,
  })
  .map(
    (lines) =>
      `[Service]\n${lines.map(([key, value]) => `${key}=x${value.replaceAll("\\", "/")}\n`).join("")}`,
  );

/** Butane configs as people write them. */
const butane = fc.record({
  passwd: fc.record({
    users: unique(
      fc.record({
        name,
        uid: optional(fc.nat(60000)),
        gecos: optional(anything),
        groups: optional(unique(name, String)),
        ssh_authorized_keys: unique(anything, String),
        shell: optional(fc.constant("/bin/sh")),
      }),
      (one) => one.name,
    ),
    groups: unique(
      fc.record({ name, gid: optional(fc.nat(60000)), system: optional(fc.boolean()) }),
      (one) => one.name,
    ),
  }),
  storage: fc.record({
    files: unique(
      fc.record({
        path,
        mode: optional(mode),
        user: optional(identity),
        group: optional(identity),
        contents: fc.record({ inline: anything }),
      }),
      (one) => one.path,
    ),
    directories: unique(
      fc.record({ path: path.map((one) => `/d${one}`), mode: optional(fc.constantFrom(0o755, 0o700)) }),
      (one) => one.path,
    ),
    links: unique(
      fc.record({ path: path.map((one) => `/l${one}`), target: anything.filter((one) => one !== "") }),
      (one) => one.path,
    ),
    filesystems: unique(
      fc.record({
        device: path.map((one) => `/dev${one}`),
        format: fc.constantFrom("ext4", "xfs", "vfat", "btrfs", "swap"),
        label: optional(name),
        options: optional(fc.array(anything, { maxLength: 2 })),
      }),
      (one) => one.device,
    ),
    disks: unique(
      fc.record({
        device: path.map((one) => `/dev${one}`),
        partitions: unique(
          fc.record({ number: fc.integer({ min: 1, max: 8 }), size_mib: optional(fc.nat(1000)) }),
          (one) => one.number,
        ),
      }),
      (one) => one.device,
    ),
    raid: unique(
      fc.record({
        name,
        level: fc.constantFrom("raid1", "raid5", "linear", "10"),
        devices: unique(
          path.map((one) => `/dev${one}`),
          String,
        ).filter((all) => all.length > 0),
      }),
      (one) => one.name,
    ),
  }),
  systemd: fc.record({
    units: unique(
      fc.record({
        name: name.map((one) => `${one}.service`),
        enabled: optional(fc.boolean()),
        contents: optional(unitText),
        dropins: unique(
          fc.record({ name: name.map((one) => `${one}.conf`), contents: unitText }),
          (one) => one.name,
        ),
      }),
      (one) => one.name,
    ),
  }),
});

/** Links lead elsewhere than files lie: what one config says of a place must be one thing. */
function isSound({ storage }: { storage: { links: { path: string }[] } }): boolean {
  return !storage.links.some((link) => storage.links.some((other) => other.path.startsWith(`${link.path}/`)));
}

const versionOf = ["1.0.0", "1.1.0", "1.2.0", "1.4.0"];

t.test(
  "what people write in Butane is taken, and what becomes of it ignition-validate takes too",
  async (t) => {
    const directory = t.testdir();
    const file = join(directory, "config.ign");
    await fc.assert(
      fc.asyncProperty(minors, butane.filter(isSound), async (minor, config) => {
        const text = writeYaml({ variant: "fcos", version: versionOf[minor], ...config });
        const made = readIgnition(text, createLocalFiles(directory), false);
        writeFileSync(file, JSON.stringify(made));
        const { isValid, said } = await validate(file);
        if (!isValid) throw new Error(said);
        // Each file is what was written inline.
        for (const [index, one] of (made.storage?.files ?? []).entries()) {
          const { source = "", compression } = one.contents ?? {};
          if (compression) continue;
          const bytes = Buffer.from(await (await fetch(source)).arrayBuffer());
          t.equal(bytes.toString(), config.storage.files[index]?.contents.inline);
        }
      }),
      { numRuns: 80 },
    );
  },
);

/** Values of every key of the table, most of them wrong in some way. */
function anyOf(shape: Shape, minor: number): fc.Arbitrary<unknown> {
  switch (shape.kind) {
    case "text":
      return fc.constantFrom(
        "",
        "a",
        "/a",
        "/a/",
        "a/b",
        "/../a",
        "a.service",
        "a.mount",
        "x.conf",
        "gzip",
        "data:,a",
        "data:,%zz",
        "http://a/b",
        "ftp://a",
        "ext4",
        "vfat",
        "raid1",
        "sha512-00",
        "[Unit]\n",
        "[Unit",
        "x",
        "tpm2",
        "a:b",
        "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
        "long".repeat(12),
      );
    case "integer":
      return fc.constantFrom(0, 1, 2, 420, 511, -1, 5000);
    case "boolean":
      return fc.boolean();
    case "list":
      return fc.array(anyOf(shape.of, minor), { maxLength: 2 });
    case "object": {
      const known = Object.entries(shape.fields).filter(
        ([, one]) => one.only !== "butane" && one.since <= minor,
      );
      return fc.record(
        Object.fromEntries(known.map(([key, one]) => [ignitionName(key), anyOf(one.shape, minor)])),
        { requiredKeys: known.filter(([, one]) => one.isRequired).map(([key]) => ignitionName(key)) },
      ) as fc.Arbitrary<unknown>;
    }
  }
}

t.test("what ignition-validate refuses we refuse, section by section", async (t) => {
  const file = join(t.testdir(), "config.ign");
  const counts = { ours: 0, theirs: 0, refused: 0 };
  const sections = Object.entries(configShape.fields).filter(
    ([key]) => !["version", "variant", "ignition"].includes(key),
  );
  for (const [key, { shape, since }] of sections)
    await fc.assert(
      fc.asyncProperty(
        fc
          .integer({ min: since, max: newestMinorOfDebian })
          .chain((minor) => fc.tuple(fc.constant(minor), anyOf(shape, minor))),
        async ([minor, section]) => {
          const config = { ignition: { version: `3.${minor}.0` }, [ignitionName(key)]: section };
          writeFileSync(file, JSON.stringify(config));
          const theirs = await validate(file);
          const ours = validateConfig(config);
          if (ours.config && !theirs.isValid) throw new Error(theirs.said);
          counts[ours.config ? "ours" : theirs.isValid ? "theirs" : "refused"]++;
        },
      ),
      { numRuns: 50 },
    );
  t.comment(
    `taken by both: ${counts.ours}, by ignition-validate alone: ${counts.theirs}, by none: ${counts.refused}`,
  );
  t.ok(counts.ours > 20);
  t.ok(counts.refused > 50);
});

t.test(
  "the machine's part is valid whatever the machine calls itself, and its shape stays the same",
  async (t) => {
    const file = join(t.testdir(), "config.ign");
    const part = (hostname: string) =>
      machinePart({
        hostname,
        joinedUrl: "http://10.0.0.1:8080/callback/c/joined",
        parts: [{ url: "http://10.0.0.1:8080/boot/claims/c/ignition/role.json", sha512: "0".repeat(128) }],
      });
    const rest = (config: unknown) =>
      JSON.stringify(config).replace(/"path":"\/etc\/hostname".*?"source":"[^"]*"/, "");
    await fc.assert(
      fc.asyncProperty(anything, async (hostname) => {
        const config = part(hostname);
        t.equal(rest(config), rest(part("s4")));
        const source = config.storage?.files?.[0]?.contents?.source ?? "";
        t.equal(Buffer.from(await (await fetch(source)).arrayBuffer()).toString(), `${hostname}\n`);
        writeFileSync(file, JSON.stringify(config));
        t.same(await validate(file), { isValid: true, said: "" });
        t.ok(validateConfig(config).config);
      }),
      { numRuns: 40 },
    );
  },
);
