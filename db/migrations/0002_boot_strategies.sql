-- Machines that are told their boot file in another way than their kind, since that got them nowhere.
CREATE TABLE boot_strategies (
  mac          TEXT PRIMARY KEY NOT NULL,
  strategy     TEXT NOT NULL,
  because      TEXT NOT NULL,
  chosen_at_ms INTEGER NOT NULL
) STRICT;
