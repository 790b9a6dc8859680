-- Assignments at a time of day; the time zone is the server's.
CREATE TABLE schedules (
  name          TEXT PRIMARY KEY NOT NULL,
  machines      TEXT NOT NULL,
  target        TEXT NOT NULL CHECK (json_valid(target)),
  mode          TEXT NOT NULL CHECK (mode IN ('always', 'once')),
  at_minute     INTEGER NOT NULL CHECK (at_minute BETWEEN 0 AND 1439),
  -- One bit a day, Monday is the lowest.
  days          INTEGER NOT NULL CHECK (days BETWEEN 1 AND 127),
  created_at_ms INTEGER NOT NULL,
  created_by    TEXT NOT NULL,
  -- Times up to this one have been seen to: done, or told as missed.
  seen_until_ms INTEGER NOT NULL
) STRICT;

-- Who took a change back.
ALTER TABLE assignment_changes ADD COLUMN undone_by TEXT;
