-- Long work on machines. `steps` of both tables: [{name, state, startedAt, at, message, code, facts}].
CREATE TABLE operations (
  id            TEXT PRIMARY KEY NOT NULL,
  kind          TEXT NOT NULL CHECK (kind IN ('assign', 'power', 'reset')),
  -- What was asked for.
  request       TEXT NOT NULL CHECK (json_valid(request)),
  actor         TEXT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'cancelled')),
  started_at_ms INTEGER NOT NULL,
  ended_at_ms   INTEGER,
  steps         TEXT NOT NULL CHECK (json_valid(steps))
) STRICT;
CREATE INDEX operations_by_state ON operations (state, started_at_ms);

-- Its machines, in the order in which they are shown. The record outlives the machine.
CREATE TABLE operation_machines (
  operation_id TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
  position     INTEGER NOT NULL,
  machine_id   TEXT NOT NULL,
  name         TEXT NOT NULL,
  steps        TEXT NOT NULL CHECK (json_valid(steps)),
  PRIMARY KEY (operation_id, position)
) STRICT, WITHOUT ROWID;
