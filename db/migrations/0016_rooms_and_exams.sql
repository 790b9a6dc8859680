-- Tokens that reach some rooms only: a JSON list of groups; NULL reaches all.
ALTER TABLE tokens ADD COLUMN rooms TEXT;

-- The last exam of each room: one that has ended bounds what an undo takes back.
CREATE TABLE exams (
  room          TEXT PRIMARY KEY NOT NULL,
  target        TEXT NOT NULL,
  started_at_ms INTEGER NOT NULL,
  started_by    TEXT NOT NULL,
  ends_at_ms    INTEGER,
  ended_at_ms   INTEGER,
  ended_by      TEXT
) STRICT;
