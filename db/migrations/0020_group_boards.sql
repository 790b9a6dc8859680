-- What the server's key opened on the machine in that boot: its orders, or any command.
ALTER TABLE ssh_host_keys ADD COLUMN commands TEXT NOT NULL DEFAULT 'orders' CHECK (commands IN ('orders', 'any'));

-- Who must have signed the certificate of a board (PEM), in place of a pinned one.
ALTER TABLE power_settings ADD COLUMN authority TEXT;

-- The boards of a room's machines, for those that have no setting of their own.
CREATE TABLE group_power_settings (
  group_name  TEXT PRIMARY KEY NOT NULL REFERENCES groups (name) ON DELETE CASCADE,
  method      TEXT NOT NULL CHECK (method IN ('ipmi', 'redfish')),
  address     TEXT NOT NULL,
  port        INTEGER,
  user        TEXT NOT NULL,
  sealed      TEXT NOT NULL,
  authority   TEXT,
  system      TEXT
) STRICT;
