-- Where the seats of a room stand: rows of seats, null where nobody sits. NULL: the group has no plan.
ALTER TABLE groups ADD COLUMN plan TEXT CHECK (plan IS NULL OR json_valid(plan));

-- What a machine's own system found in it, in a table of its own: rows of machines are written at each step of a boot.
CREATE TABLE machine_hardware (
  machine_id     TEXT PRIMARY KEY NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  facts          TEXT NOT NULL CHECK (json_valid(facts)),
  reported_at_ms INTEGER NOT NULL
) STRICT;
