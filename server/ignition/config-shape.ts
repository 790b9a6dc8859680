import {
  boolean,
  by,
  type Field,
  integer,
  list,
  object,
  type ObjectShape,
  onlyButane,
  onlyIgnition,
  options,
  required,
  since,
  text,
} from "./shape.ts";

/**
 * Every key of a config in Butane's spelling, with the minor version of Ignition 3 that has it first. Butane's own keys come with the
 * version of Butane that makes configs of that Ignition version.
 * Sources: coreos/ignition config/v3_0 to v3_6; coreos/butane base/v0_1 to v0_7 (specifications, docs/config-*.md).
 */

const verification = object({ hash: text() });
const headers = list(object({ name: required(text()), value: text() }), { key: by("name") });

/** Contents of a file; the local forms are Butane's. */
const contents = object(
  {
    compression: text(),
    http_headers: since(1, headers),
    source: text(),
    verification,
    inline: onlyButane(text()),
    local: since(1, onlyButane(text())),
  },
  "resource",
);
/** A config or certificate elsewhere: less could be said of it in 3.0. */
const reference = object(
  {
    compression: since(1, text()),
    http_headers: since(1, headers),
    source: text(),
    verification,
    inline: since(1, onlyButane(text())),
    local: since(1, onlyButane(text())),
  },
  "resource",
);

const identity = object({ id: integer(), name: text() });
const node = { path: required(text()), user: identity, group: identity, overwrite: boolean() };
const nodes = (fields: Readonly<Record<string, Field>>) =>
  list(object({ ...node, ...fields }), { key: by("path"), family: "node" });

const partition = object({
  guid: text(),
  label: text(),
  number: integer(),
  resize: since(2, boolean()),
  should_exist: boolean(),
  size_mib: integer(),
  start_mib: integer(),
  type_guid: text(),
  wipe_partition_entry: boolean(),
});

/** Partitions are the same by number, or by label where they have none; those with neither are refused elsewhere. */
function partitionKey(item: unknown): string {
  const { number, label } = item as { number?: number; label?: string };
  if (number !== undefined && number !== 0) return `number ${number}`;
  return label === undefined ? "" : `label ${label}`;
}

const luks = object({
  cex: since(5, object({ enabled: boolean() })),
  clevis: object({
    custom: object({ config: text(), needs_network: boolean(), pin: text() }),
    tang: list(object({ thumbprint: text(), url: required(text()), advertisement: since(4, text()) }), {
      key: by("url"),
    }),
    threshold: integer(),
    tpm2: boolean(),
  }),
  device: text(),
  discard: since(4, boolean()),
  key_file: contents,
  label: text(),
  name: required(text()),
  open_options: since(4, list(text())),
  options: options(),
  uuid: text(),
  wipe_volume: boolean(),
});

const storage = object({
  directories: nodes({ mode: integer() }),
  disks: list(
    object({
      device: required(text()),
      partitions: list(partition, { key: partitionKey }),
      wipe_table: boolean(),
    }),
    { key: by("device") },
  ),
  files: nodes({ append: list(contents), contents, mode: integer() }),
  filesystems: list(
    object({
      device: required(text()),
      format: text(),
      label: text(),
      mount_options: since(1, options()),
      options: options(),
      path: text(),
      uuid: text(),
      wipe_filesystem: boolean(),
      with_mount_unit: since(1, onlyButane(boolean())),
    }),
    { key: by("device") },
  ),
  links: nodes({ hard: boolean(), target: text() }),
  luks: since(2, list(luks, { key: by("name") })),
  raid: list(
    object({
      devices: list(text()),
      level: text(),
      name: required(text()),
      options: options(),
      spares: integer(),
    }),
    { key: by("name") },
  ),
  trees: since(
    1,
    onlyButane(
      list(
        object({
          local: required(text()),
          path: text(),
          user: since(6, identity),
          group: since(6, identity),
          file_mode: since(6, integer()),
          dir_mode: since(6, integer()),
        }),
      ),
    ),
  ),
});

const contentsLocal = since(4, onlyButane(text()));
const systemd = object({
  units: list(
    object(
      {
        contents: text(),
        contents_local: contentsLocal,
        dropins: list(
          object({ contents: text(), contents_local: contentsLocal, name: required(text()) }, "unit"),
          { key: by("name") },
        ),
        enabled: boolean(),
        mask: boolean(),
        name: required(text()),
      },
      "unit",
    ),
    { key: by("name") },
  ),
});

const passwd = object({
  groups: list(
    object({
      gid: integer(),
      name: required(text()),
      password_hash: text(),
      should_exist: since(2, boolean()),
      system: boolean(),
    }),
    { key: by("name") },
  ),
  users: list(
    object(
      {
        gecos: text(),
        groups: list(text()),
        home_dir: text(),
        name: required(text()),
        no_create_home: boolean(),
        no_log_init: boolean(),
        no_user_group: boolean(),
        password_hash: text(),
        primary_group: text(),
        should_exist: since(2, boolean()),
        shell: text(),
        ssh_authorized_keys: list(text()),
        ssh_authorized_keys_local: since(4, onlyButane(list(text()))),
        system: boolean(),
        uid: integer(),
      },
      "user",
    ),
    { key: by("name") },
  ),
});

const ignition = object({
  version: onlyIgnition(required(text())),
  config: object({ merge: list(reference, { key: by("source") }), replace: reference }),
  proxy: since(1, object({ http_proxy: text(), https_proxy: text(), no_proxy: list(text()) })),
  security: object({
    tls: object({ certificate_authorities: list(reference, { key: by("source") }) }),
  }),
  timeouts: object({ http_response_headers: integer(), http_total: integer() }),
});

export const configShape = object({
  version: onlyButane(text()),
  variant: onlyButane(text()),
  ignition,
  kernel_arguments: since(
    3,
    object({
      should_exist: list(text(), { family: "argument" }),
      should_not_exist: list(text(), { family: "argument" }),
    }),
  ),
  passwd,
  storage,
  systemd,
}).shape as ObjectShape;

/** The newest minor version of Ignition 3 that the table knows. */
export const newestMinor = 6;
