-- What people changed in the assignments, newest last, so that a change can be taken back whole.
-- entries: [{ subject, mode, before, after }], each side an assignment or null.
CREATE TABLE assignment_changes (
  id           TEXT PRIMARY KEY NOT NULL,
  at_ms        INTEGER NOT NULL,
  actor        TEXT NOT NULL,
  message      TEXT NOT NULL,
  entries      TEXT NOT NULL CHECK (json_valid(entries)),
  undone_at_ms INTEGER
) STRICT;
