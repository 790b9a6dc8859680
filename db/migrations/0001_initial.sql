-- Times are milliseconds since 1970 UTC (*_ms); JSON columns hold objects that are only read as a whole.

CREATE TABLE machines (
  id            TEXT PRIMARY KEY NOT NULL,
  name          TEXT NOT NULL UNIQUE,
  uuid          TEXT,
  serial        TEXT,
  manufacturer  TEXT,
  product       TEXT,
  arch          TEXT,
  firmware      TEXT,
  group_name    TEXT,
  seat          TEXT,
  labels        TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(labels)),
  address       TEXT UNIQUE,
  ram_bytes     INTEGER,
  phase         TEXT NOT NULL,
  created_at_ms INTEGER NOT NULL,
  accepted_at_ms INTEGER,
  seen_at_ms    INTEGER
) STRICT;

CREATE TABLE machine_macs (
  mac        TEXT PRIMARY KEY NOT NULL,
  machine_id TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  position   INTEGER NOT NULL
) STRICT;
CREATE INDEX machine_macs_by_machine ON machine_macs (machine_id);

CREATE TABLE groups (
  name          TEXT PRIMARY KEY NOT NULL,
  description   TEXT NOT NULL DEFAULT '',
  created_at_ms INTEGER NOT NULL
) STRICT;

-- One assignment per subject and mode: a new one takes the place of the former.
CREATE TABLE assignments (
  id             TEXT PRIMARY KEY NOT NULL,
  machine_id     TEXT REFERENCES machines (id) ON DELETE CASCADE,
  group_name     TEXT REFERENCES groups (name) ON DELETE CASCADE,
  mode           TEXT NOT NULL CHECK (mode IN ('always', 'once')),
  target         TEXT NOT NULL CHECK (json_valid(target)),
  assigned_at_ms INTEGER NOT NULL,
  assigned_by    TEXT NOT NULL,
  CHECK ((machine_id IS NULL) <> (group_name IS NULL)),
  UNIQUE (machine_id, mode),
  UNIQUE (group_name, mode)
) STRICT;

CREATE TABLE leases (
  mac           TEXT PRIMARY KEY NOT NULL,
  address       TEXT NOT NULL UNIQUE,
  granted_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('bound', 'released', 'declined')),
  hostname      TEXT
) STRICT;

CREATE TABLE boots (
  id            TEXT PRIMARY KEY NOT NULL,
  machine_id    TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  mac           TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL,
  ended_at_ms   INTEGER,
  outcome       TEXT NOT NULL,
  target        TEXT,
  verdict       TEXT,
  phases        TEXT NOT NULL CHECK (json_valid(phases)),
  steps         TEXT NOT NULL CHECK (json_valid(steps))
) STRICT;
CREATE INDEX boots_by_machine ON boots (machine_id, started_at_ms DESC);

CREATE TABLE claims (
  hash          TEXT PRIMARY KEY NOT NULL,
  boot_id       TEXT NOT NULL,
  machine_id    TEXT NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  mac           TEXT NOT NULL,
  address       TEXT NOT NULL,
  target        TEXT NOT NULL CHECK (json_valid(target)),
  assignment_id TEXT,
  minted_at_ms  INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  spent_at_ms   INTEGER,
  fetches       TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(fetches))
) STRICT;
CREATE INDEX claims_by_boot ON claims (boot_id);

CREATE TABLE events (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms      INTEGER NOT NULL,
  type       TEXT NOT NULL,
  level      TEXT NOT NULL,
  machine_id TEXT,
  boot_id    TEXT,
  actor      TEXT,
  message    TEXT NOT NULL,
  data       TEXT NOT NULL CHECK (json_valid(data))
) STRICT;
CREATE INDEX events_by_machine ON events (machine_id, seq);

CREATE TABLE tokens (
  id            TEXT PRIMARY KEY NOT NULL,
  name          TEXT NOT NULL UNIQUE,
  scope         TEXT NOT NULL,
  hash          TEXT NOT NULL UNIQUE,
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER
) STRICT;

CREATE TABLE images (
  name        TEXT NOT NULL,
  version     TEXT NOT NULL,
  arch        TEXT NOT NULL,
  files       TEXT NOT NULL CHECK (json_valid(files)),
  added_at_ms INTEGER NOT NULL,
  is_current  INTEGER NOT NULL,
  PRIMARY KEY (name, version)
) STRICT;

CREATE TABLE settings (
  key   TEXT PRIMARY KEY NOT NULL,
  value TEXT NOT NULL
) STRICT;
