-- How people want a machine, or all machines of a group, to be handed to the local disk, and which first-stage driver they get.
ALTER TABLE machines ADD COLUMN local_boot TEXT;
ALTER TABLE machines ADD COLUMN driver TEXT;
ALTER TABLE groups ADD COLUMN local_boot TEXT;
ALTER TABLE groups ADD COLUMN driver TEXT;

-- The driver that a machine got after it hung in the one before is remembered beside its strategy: either may be the rule's (NULL).
CREATE TABLE boot_choices (
  mac          TEXT PRIMARY KEY NOT NULL,
  strategy     TEXT,
  driver       TEXT,
  because      TEXT NOT NULL,
  chosen_at_ms INTEGER NOT NULL
) STRICT;
INSERT INTO boot_choices (mac, strategy, because, chosen_at_ms)
  SELECT mac, strategy, because, chosen_at_ms FROM boot_strategies;
DROP TABLE boot_strategies;
