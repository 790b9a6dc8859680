import { gunzipSync, gzipSync } from "node:zlib";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { encodeContents, isDataUrl } from "../../server/ignition/data-url.ts";
import { escapeUnitPath } from "../../server/ignition/mount-units.ts";
import { DocumentFaults } from "../../server/render/document-fault.ts";
import { createLocalFiles } from "../../server/render/role-folder.ts";
import { readIgnition } from "../../server/render/role-ignition.ts";
import { writeFiles } from "../support/boot-lab.ts";

const gzip = (bytes: Uint8Array) => gzipSync(bytes, { level: 9 });

/** The config that becomes of a Butane text beside these files. */
function translate(t: Test, text: string, files: Readonly<Record<string, string>> = {}): unknown {
  const directory = t.testdir();
  writeFiles(directory, files);
  return readIgnition(text, createLocalFiles(directory), false);
}

/** All faults as `line:column: sentence`. */
function faults(t: Test, text: string, files: Readonly<Record<string, string>> = {}): string[] {
  try {
    translate(t, text, files);
    return [];
  } catch (error) {
    if (!(error instanceof DocumentFaults)) throw error;
    return error.faults.map(({ at, sentence }) => `${at?.line}:${at?.column}: ${sentence}`);
  }
}

const flatcar = "variant: flatcar\nversion: 1.1.0\n";
const fcos = (version: string) => `variant: fcos\nversion: ${version}\n`;

t.test("each version of a variant makes its version of Ignition (butane docs/specs.md)", (t) => {
  const versions = {
    fcos: { "1.0.0": 0, "1.1.0": 1, "1.2.0": 2, "1.3.0": 2, "1.4.0": 3, "1.5.0": 4, "1.6.0": 5, "1.7.0": 6 },
    flatcar: { "1.0.0": 3, "1.1.0": 4 },
  };
  for (const [variant, minors] of Object.entries(versions))
    for (const [version, minor] of Object.entries(minors))
      t.same(
        translate(t, `variant: ${variant}\nversion: ${version}\n`),
        { ignition: { version: `3.${minor}.0` } },
        `${variant} ${version}`,
      );
  t.end();
});

t.test("keys change their spelling and keep their values", (t) => {
  const text = `${fcos("1.5.0")}
ignition:
  timeouts: { http_response_headers: 5, http_total: 60 }
  proxy: { http_proxy: "http://p:3128", no_proxy: [10.0.0.0/8] }
kernel_arguments: { should_exist: [quiet], should_not_exist: [rhgb] }
passwd:
  users: [{ name: anna, uid: 1000, home_dir: /home/anna, no_create_home: yes, password_hash: "$y$x", should_exist: true }]
  groups: [{ name: lab, gid: 2000, system: off }]
storage:
  disks:
    - device: /dev/sda
      wipe_table: true
      partitions: [{ label: data, number: 1, size_mib: 1024, start_mib: 1, type_guid: 0FC63DAF-8483-4772-8E79-3D69D8477DE4, wipe_partition_entry: true }]
  raid: [{ name: md, level: raid1, devices: [/dev/sda, /dev/sdb], spares: 1, options: [--metadata=1.0] }]
  luks:
    - name: data
      device: /dev/md/md
      wipe_volume: true
      open_options: [--perf-no_read_workqueue]
      clevis: { tpm2: true, threshold: 1, tang: [{ url: "http://tang", thumbprint: abc }] }
  filesystems: [{ device: /dev/mapper/data, format: ext4, path: /var/data, mount_options: [noatime], wipe_filesystem: false }]
  links: [{ path: /etc/a, target: b, hard: false, overwrite: true }]
`;
  t.same(translate(t, text), {
    ignition: {
      version: "3.4.0",
      timeouts: { httpResponseHeaders: 5, httpTotal: 60 },
      proxy: { httpProxy: "http://p:3128", noProxy: ["10.0.0.0/8"] },
    },
    kernelArguments: { shouldExist: ["quiet"], shouldNotExist: ["rhgb"] },
    passwd: {
      users: [
        {
          name: "anna",
          uid: 1000,
          homeDir: "/home/anna",
          noCreateHome: true,
          passwordHash: "$y$x",
          shouldExist: true,
        },
      ],
      groups: [{ name: "lab", gid: 2000, system: false }],
    },
    storage: {
      disks: [
        {
          device: "/dev/sda",
          wipeTable: true,
          partitions: [
            {
              label: "data",
              number: 1,
              sizeMiB: 1024,
              startMiB: 1,
              typeGuid: "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
              wipePartitionEntry: true,
            },
          ],
        },
      ],
      raid: [
        {
          name: "md",
          level: "raid1",
          devices: ["/dev/sda", "/dev/sdb"],
          spares: 1,
          options: ["--metadata=1.0"],
        },
      ],
      luks: [
        {
          name: "data",
          device: "/dev/md/md",
          wipeVolume: true,
          openOptions: ["--perf-no_read_workqueue"],
          clevis: { tpm2: true, threshold: 1, tang: [{ url: "http://tang", thumbprint: "abc" }] },
        },
      ],
      filesystems: [
        {
          device: "/dev/mapper/data",
          format: "ext4",
          path: "/var/data",
          mountOptions: ["noatime"],
          wipeFilesystem: false,
        },
      ],
      links: [{ path: "/etc/a", target: "b", hard: false, overwrite: true }],
    },
  });
  t.end();
});

t.test("YAML is read as Butane reads it: 0644 is octal, a number is a text where a text is wanted", (t) => {
  const text = `${flatcar}storage:\n  directories:\n    - { path: /a, mode: 0755, user: { name: 1000 } }\n    - { path: /b, mode: 0o711 }\n    - { path: /c, mode: 448 }\n`;
  t.same(translate(t, text), {
    ignition: { version: "3.4.0" },
    storage: {
      directories: [
        { path: "/a", mode: 0o755, user: { name: "1000" } },
        { path: "/b", mode: 0o711 },
        { path: "/c", mode: 0o700 },
      ],
    },
  });
  const merged = `${flatcar}storage:\n  files:\n    - &a { path: /a, mode: 0600 }\n    - { <<: *a, path: /b }\n`;
  t.match(translate(t, merged), { storage: { files: [{}, { path: "/b", mode: 0o600 }] } });
  t.end();
});

t.test("contents become data URLs in the shortest of three forms (butane base/util/url.go)", (t) => {
  const encoded = (text: string) => encodeContents(Buffer.from(text), gzip, false);
  t.same(encoded("core"), { source: "data:,core", compression: "" });
  t.same(encoded("a b\n/~"), { source: "data:,a%20b%0A%2F~", compression: "" });
  t.same(encoded(""), { source: "data:,", compression: "" });
  t.same(encoded("\u0000\u0001\u0002\u0003\u0004\u0005"), {
    source: "data:;base64,AAECAwQF",
    compression: "",
  });
  const long = encoded("lab ".repeat(100));
  t.equal(long.compression, "gzip");
  t.equal(gunzipSync(Buffer.from(long.source.split(",")[1] ?? "", "base64")).toString(), "lab ".repeat(100));
  t.same(encodeContents(Buffer.from("abc"), gzip, true), { source: "data:,abc", compression: undefined });
  for (const { source } of [encoded("core"), encoded("é\n"), long])
    t.ok(isDataUrl(source), source.slice(0, 40));
  for (const url of ["data:", "data:;base64,A", "data:,a b", "data:,%zz"]) t.notOk(isDataUrl(url), url);
  t.end();
});

t.test("local files are drawn in", (t) => {
  const text = `${flatcar}
passwd:
  users: [{ name: core, ssh_authorized_keys: [key0], ssh_authorized_keys_local: [keys/a.pub, keys/b.pub] }]
storage:
  files: [{ path: /etc/a, contents: { local: dir/a } }]
systemd:
  units:
    - { name: a.service, contents_local: a.service, dropins: [{ name: x.conf, contents_local: x.conf }] }
ignition:
  config: { merge: [{ local: other.ign }] }
`;
  const unit = "[Service]\nExecStart=/bin/a\n";
  const files = {
    "keys/a.pub": "key1\r\n\nkey2\n",
    "keys/b.pub": "key3",
    "dir/a": "A",
    "a.service": unit,
    "x.conf": "[Unit]\n",
    "other.ign": '{"ignition":{"version":"3.0.0"}}',
  };
  t.match(translate(t, text, files), {
    passwd: { users: [{ sshAuthorizedKeys: ["key0", "key1", "key2", "key3"] }] },
    storage: { files: [{ contents: { source: "data:,A", compression: "" } }] },
    systemd: { units: [{ contents: unit, dropins: [{ name: "x.conf", contents: "[Unit]\n" }] }] },
    ignition: { config: { merge: [{ source: /^data:/ }] } },
  });
  t.end();
});

t.test(
  "a tree becomes files and links, executable where they are, and fills what is described without contents",
  (t) => {
    const directory = t.testdir();
    writeFiles(directory, { "tree/etc/a.conf": "a", "tree/etc/own.conf": "own", "tree/x": "x" });
    mkdirSync(join(directory, "tree/empty"));
    symlinkSync("a.conf", join(directory, "tree/etc/link"));
    const text = `${flatcar}storage:\n  files: [{ path: /opt/etc/own.conf, mode: 0600 }]\n  trees: [{ local: tree, path: /opt }]\n`;
    t.same((readIgnition(text, createLocalFiles(directory), false) as { storage: unknown }).storage, {
      files: [
        { path: "/opt/etc/own.conf", mode: 0o600, contents: { source: "data:,own", compression: "" } },
        { path: "/opt/etc/a.conf", mode: 0o644, contents: { source: "data:,a", compression: "" } },
        { path: "/opt/x", mode: 0o644, contents: { source: "data:,x", compression: "" } },
      ],
      links: [{ path: "/opt/etc/link", target: "a.conf" }],
    });
    const owned = `${fcos("1.7.0")}storage:\n  trees: [{ local: tree, user: { name: anna }, file_mode: 0640, dir_mode: 0750 }]\n`;
    t.match(readIgnition(owned, createLocalFiles(directory), false), {
      storage: {
        directories: [
          { path: "/empty", user: { name: "anna" }, mode: 0o750 },
          { path: "/etc", user: { name: "anna" }, mode: 0o750 },
        ],
        files: [{ path: "/etc/a.conf", user: { name: "anna" }, mode: 0o640 }, {}, {}],
      },
    });
    t.end();
  },
);

t.test(
  "with_mount_unit makes the unit that mounts the filesystem, and the administrator's own has the last word",
  (t) => {
    const text = `${fcos("1.4.0")}
storage:
  luks: [{ name: data, device: /dev/sdb, clevis: { tang: [{ url: "http://t", thumbprint: x }] } }]
  filesystems:
    - { device: /dev/disk/by-label/var-x, format: xfs, path: /var/lab data, mount_options: [noatime, ro], with_mount_unit: true }
    - { device: /dev/mapper/data, format: ext4, path: /var/data, with_mount_unit: true }
    - { device: /dev/sdc, format: swap, with_mount_unit: true }
    - { device: /dev/sdd, format: ext4, path: /var/d }
systemd:
  units: [{ name: z.service, enabled: false }, { name: var-data.mount, enabled: false }]
`;
    const { units } = (translate(t, text) as { systemd: { units: { name: string; contents?: string }[] } })
      .systemd;
    t.match(units, [
      {
        name: "var-lab\\x20data.mount",
        enabled: true,
        contents:
          /\[Unit\]\nRequires=(systemd-fsck@dev-disk-by\\x2dlabel-var\\x2dx\.service)\nAfter=\1\n\n\[Mount\]\nWhere=\/var\/lab data\nWhat=\/dev\/disk\/by-label\/var-x\nType=xfs\nOptions=noatime,ro\n\n\[Install\]\nRequiredBy=local-fs.target\n$/,
      },
      {
        name: "var-data.mount",
        enabled: false,
        contents: /Options=_netdev\n\n\[Install\]\nRequiredBy=remote-fs.target/,
      },
      {
        name: "dev-sdc.swap",
        enabled: true,
        contents: /\[Swap\]\nWhat=\/dev\/sdc\n\n\[Install\]\nRequiredBy=swap.target/,
      },
      { name: "z.service", enabled: false },
    ]);
    t.equal(escapeUnitPath("/"), "-");
    t.equal(escapeUnitPath("/.hidden/é"), "\\x2ehidden-\\xc3\\xa9");
    t.end();
  },
);

t.test("every fault has its line and column, in the words of the Butane file", (t) => {
  const cases: readonly (readonly [
    rule: string,
    text: string,
    expected: readonly (string | RegExp)[],
    files?: Record<string, string>,
  ])[] = [
    [
      "a variant that boots machines",
      "variant: openshift\nversion: 4.8.0\n",
      ["1:1: variant: must be one of fcos, flatcar"],
    ],
    [
      "a version of the variant",
      "variant: flatcar\nversion: 1.4.0\n",
      ["2:1: version: must be a version of flatcar: 1.0.0, 1.1.0"],
    ],
    [
      "a version is a text",
      "variant: flatcar\nversion: 1.1\n",
      ["2:1: version: must be a version of flatcar: 1.0.0, 1.1.0"],
    ],
    [
      "a version is there",
      "variant: flatcar\n",
      ["1:1: the key version is missing; flatcar has 1.0.0, 1.1.0"],
    ],
    [
      "known keys",
      `${flatcar}storge:\n  files: []\n`,
      [
        "3:1: storge: unknown key; known are version, variant, ignition, kernel_arguments, passwd, storage, systemd",
      ],
    ],
    [
      "known keys below",
      `${flatcar}storage:\n  files:\n    - path: /a\n      modes: 0644\n`,
      [
        "6:7: storage.files.0.modes: unknown key; known are path, user, group, overwrite, append, contents, mode",
      ],
    ],
    [
      "Ignition's spelling is not Butane's",
      `${flatcar}passwd:\n  users:\n    - name: a\n      sshAuthorizedKeys: [x]\n`,
      [/^6:7: passwd\.users\.0\.sshAuthorizedKeys: unknown key; known are .*ssh_authorized_keys/],
    ],
    [
      "a key has its version",
      `${fcos("1.3.0")}kernel_arguments:\n  should_exist: [quiet]\n`,
      ["3:1: kernel_arguments: is known from version 1.4.0 of fcos on"],
    ],
    [
      "a key that no version has",
      `${flatcar}storage:\n  trees:\n    - local: a\n      file_mode: 0644\n`,
      ["6:7: storage.trees.0.file_mode: is in no version of flatcar that Rollcall knows"],
    ],
    [
      "boot_device is refused with what to do",
      `${fcos("1.5.0")}boot_device:\n  mirror: {}\n`,
      [
        "3:1: boot_device: describes the disk that a system was installed to, and this machine boots from the network: name disks, raid, luks and filesystems one by one under storage",
      ],
    ],
    [
      "grub is refused",
      `${fcos("1.5.0")}grub:\n  users: []\n`,
      [
        "3:1: grub: sets the boot menu of an installed system, and this machine boots from the network: leave it out",
      ],
    ],
    [
      "clevis is not on Flatcar",
      `${flatcar}storage:\n  luks:\n    - name: a\n      device: /dev/sda\n      clevis: { tpm2: true }\n`,
      ["7:7: storage.luks.0.clevis: is not there on Flatcar"],
    ],
    [
      "types",
      `${flatcar}storage:\n  files:\n    - path: [a]\n      mode: rw\n      overwrite: maybe\n`,
      [
        "5:7: storage.files.0.path: must be a text",
        "6:7: storage.files.0.mode: must be a whole number",
        "7:7: storage.files.0.overwrite: must be true or false",
      ],
    ],
    [
      "lists and mappings",
      `${flatcar}storage: []\npasswd:\n  users: {}\n`,
      ["3:1: storage: must be a mapping of keys", "5:3: passwd.users: must be a list"],
    ],
    [
      "a path is there",
      `${flatcar}storage:\n  files:\n    - mode: 0644\n`,
      ["5:7: storage.files.0: the key path is missing"],
    ],
    [
      "a path is absolute",
      `${flatcar}storage:\n  files:\n    - path: etc/motd\n`,
      ["5:7: storage.files.0.path: must be an absolute path"],
    ],
    [
      "a path is clean",
      `${flatcar}storage:\n  files:\n    - path: /etc/../motd\n`,
      ["5:7: storage.files.0.path: must be a path without //, ., .. and a slash at its end"],
    ],
    [
      "a path stands once",
      `${flatcar}storage:\n  files:\n    - path: /a\n  directories:\n    - path: /a\n`,
      ["5:7: storage.files.0: is there twice: another entry has the same path, name or device"],
    ],
    [
      "a decimal mode",
      `${flatcar}storage:\n  files:\n    - path: /a\n      mode: 644\n`,
      [
        "6:7: storage.files.0.mode: 644 is a decimal number; write it in octal, in YAML as 0644, in JSON as 420",
      ],
    ],
    [
      "special bits before 3.6",
      `${flatcar}storage:\n  files:\n    - path: /a\n      mode: 04755\n`,
      ["6:7: storage.files.0.mode: setuid, setgid and sticky bits are overlooked before Ignition 3.6.0"],
    ],
    [
      "one source",
      `${flatcar}storage:\n  files:\n    - path: /a\n      contents:\n        inline: a\n        local: b\n`,
      ["8:9: storage.files.0.contents.local: only one of inline, local and source may be there"],
    ],
    [
      "a local file is there",
      `${flatcar}storage:\n  files:\n    - path: /a\n      contents:\n        local: gone\n`,
      ['7:9: storage.files.0.contents.local: there is no "gone" in the role\'s folder'],
    ],
    [
      "a local file is inside",
      `${flatcar}storage:\n  files:\n    - path: /a\n      contents:\n        local: ../../../../../../../../etc/passwd\n`,
      [
        "7:9: storage.files.0.contents.local: ../../../../../../../../etc/passwd leads out of the role's folder",
      ],
    ],
    [
      "a tree is a folder",
      `${flatcar}storage:\n  trees:\n    - local: f\n`,
      ["5:7: storage.trees.0: f is no folder"],
      { f: "x" },
    ],
    [
      "a tree and a file are one",
      `${flatcar}storage:\n  files:\n    - path: /f\n      contents: { inline: a }\n  trees:\n    - local: d\n`,
      ["8:7: storage.trees.0: /f is described elsewhere in this config too"],
      { "d/f": "x" },
    ],
    [
      "a mount unit has a format",
      `${flatcar}storage:\n  filesystems:\n    - device: /dev/sda\n      with_mount_unit: true\n`,
      ["6:7: storage.filesystems.0.with_mount_unit: needs the key format"],
    ],
    [
      "a unit's name",
      `${flatcar}systemd:\n  units:\n    - name: lab\n`,
      [/^5:7: systemd\.units\.0\.name: must be the name of a unit/],
    ],
    [
      "a unit's text",
      `${flatcar}systemd:\n  units:\n    - name: a.service\n      contents: |\n        [Service]\n        ExecStart /bin/a\n`,
      ["6:7: systemd.units.0.contents: line 2 of the unit is no Key=value: ExecStart /bin/a"],
    ],
    [
      "a drop-in's name",
      `${flatcar}systemd:\n  units:\n    - name: a.service\n      dropins:\n        - name: x\n`,
      ["7:11: systemd.units.0.dropins.0.name: must be the name of a drop-in, which ends in .conf"],
    ],
    [
      "a unit from a file",
      `${flatcar}systemd:\n  units:\n    - name: a.service\n      contents_local: a.service\n`,
      ["6:7: systemd.units.0.contents_local: line 1 of the unit stands before the first [Section]"],
      { "a.service": "x" },
    ],
    [
      "a digest",
      `${flatcar}storage:\n  files:\n    - path: /a\n      contents:\n        source: http://a/b\n        verification:\n          hash: sha512-12\n`,
      ["9:11: storage.files.0.contents.verification.hash: a digest of sha512 has 128 hexadecimal digits"],
    ],
    [
      "a source",
      `${flatcar}storage:\n  files:\n    - path: /a\n      contents:\n        source: ftp://a/b\n`,
      [
        "7:9: storage.files.0.contents.source: must be an address that begins with http, https, tftp, s3, arn, gs or data",
      ],
    ],
    [
      "a label is short",
      `${flatcar}storage:\n  filesystems:\n    - { device: /dev/sda, format: xfs, label: longer-than-it-may }\n`,
      ["5:40: storage.filesystems.0.label: may have 12 octets at most on xfs"],
    ],
    [
      "partitions",
      `${flatcar}storage:\n  disks:\n    - device: /dev/sda\n      partitions:\n        - { number: 1, start_mib: 1, size_mib: 10 }\n        - { number: 2, start_mib: 5, size_mib: 10 }\n`,
      ["8:11: storage.disks.0.partitions.1: overlaps another partition"],
    ],
    [
      "raid",
      `${flatcar}storage:\n  raid:\n    - name: md\n      level: raid7\n      devices: [/dev/sda]\n`,
      ["6:7: storage.raid.0.level: must be one of linear, raid0, raid1, raid4, raid5, raid6, raid10"],
    ],
    [
      "a link leads somewhere",
      `${flatcar}storage:\n  links:\n    - path: /a\n`,
      ["5:7: storage.links.0: the key target is missing"],
    ],
    [
      "no file through a link",
      `${flatcar}storage:\n  links:\n    - { path: /a, target: /b }\n  files:\n    - path: /a/c\n`,
      ["7:7: storage.files.0.path: leads through the link /a, which is made later"],
    ],
    [
      "a file is no unit too",
      `${flatcar}systemd:\n  units:\n    - { name: a.service, contents: "[Unit]\\n" }\nstorage:\n  files:\n    - path: /etc/systemd/system/a.service\n`,
      ["8:7: storage.files.0.path: is written by a unit or drop-in under systemd too"],
    ],
    [
      "what is merged is checked",
      `${flatcar}ignition:\n  config:\n    merge:\n      - inline: '{"ignition":{"version":"2.3.0"}}'\n`,
      ["6:9: ignition.config.merge.0.inline: in it, ignition.version: must be a version from 3.0.0 to 3.6.0"],
    ],
    ["YAML", `${flatcar}a: [\n`, [/^4:1: /]],
  ];
  for (const [rule, text, expected, files] of cases) {
    const found = faults(t, text, files);
    const isLike = (one: string, wanted?: string | RegExp) => wanted instanceof RegExp && wanted.test(one);
    t.same(
      found.map((one, index) => (isLike(one, expected[index]) ? expected[index] : one)),
      expected,
      rule,
    );
  }
  t.equal(cases.length, 40);
  t.end();
});

t.test("raw Ignition is JSON and has the shape of its version", (t) => {
  const cases: readonly (readonly [text: string, expected: string])[] = [
    ['{ "ignition": {} }', "1:3: ignition: the key ignition.version is missing"],
    [
      '{ "ignition": { "version": "2.3.0" } }',
      "1:17: ignition.version: must be a version from 3.0.0 to 3.6.0",
    ],
    [
      '{ "ignition": { "version": "3.0.0" },\n  "kernelArguments": {} }',
      "2:3: kernelArguments: is known from Ignition 3.3.0 on; raise ignition.version",
    ],
    [
      '{ "ignition": { "version": "3.0.0" },\n  "storage": { "files": [{ "path": "/a", "contents": { "inline": "x" } }] } }',
      "2:56: storage.files.0.contents.inline: unknown key; known are compression, source, verification",
    ],
    [
      '{ "ignition": { "version": "3.0.0" },\n  "storage": { "files": [{ "path": "/a", "mode": "0644" }] } }',
      "2:42: storage.files.0.mode: must be a whole number",
    ],
    [
      '{ "ignition": { "version": "3.0.0" }, }',
      "1:39: this is no JSON: Expected double-quoted property name",
    ],
  ];
  for (const [text, expected] of cases) t.same(faults(t, text), [expected], text);
  t.end();
});
