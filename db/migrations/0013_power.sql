-- How a machine's power is ruled beside Wake-on-LAN; the password is sealed.
CREATE TABLE power_settings (
  machine_id  TEXT PRIMARY KEY NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  method      TEXT NOT NULL CHECK (method IN ('wol', 'ssh', 'ipmi', 'redfish')),
  address     TEXT,
  port        INTEGER,
  user        TEXT,
  sealed      TEXT,
  certificate TEXT,
  system      TEXT
) STRICT;

-- The SSH host key that a machine told by its own callback, of its newest boot that told one.
CREATE TABLE ssh_host_keys (
  machine_id  TEXT PRIMARY KEY NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  boot_id     TEXT NOT NULL,
  host_key    TEXT NOT NULL,
  address     TEXT NOT NULL,
  user        TEXT NOT NULL,
  told_at_ms  INTEGER NOT NULL
) STRICT;
