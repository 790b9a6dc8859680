-- The cluster as a whole: one row. `generation` counts the clusters that were begun from nothing.
CREATE TABLE cluster (
  id                  INTEGER PRIMARY KEY CHECK (id = 1),
  generation          INTEGER NOT NULL,
  state               TEXT NOT NULL CHECK (state IN ('empty', 'initializing', 'up', 'down', 'resetting')),
  -- The master that may run `kubeadm init`, in which boot, and until when nobody else may.
  init_machine_id     TEXT,
  init_boot_id        TEXT,
  init_lease_until_ms INTEGER,
  -- When `kubeadm init` was first through in this generation: from then on its data are worth keeping.
  initialized_at_ms   INTEGER,
  changed_at_ms       INTEGER NOT NULL
) STRICT;
INSERT INTO cluster (id, generation, state, changed_at_ms) VALUES (1, 0, 'empty', 0);

-- The newest boot of each machine that claimed to join.
CREATE TABLE cluster_nodes (
  machine_id       TEXT PRIMARY KEY NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  name             TEXT NOT NULL,
  role             TEXT NOT NULL CHECK (role IN ('master', 'worker')),
  boot_id          TEXT NOT NULL,
  claim_hash       TEXT NOT NULL,
  agent_key        TEXT NOT NULL,
  certificate      TEXT NOT NULL,
  -- What an operator reads off the machine's screen; of this boot alone.
  arming_code      TEXT NOT NULL,
  address          TEXT NOT NULL,
  report           TEXT NOT NULL CHECK (json_valid(report)),
  state            TEXT NOT NULL,
  since_ms         INTEGER NOT NULL,
  deadline_ms      INTEGER,
  generation       INTEGER NOT NULL,
  sequence         INTEGER NOT NULL,
  done_sequence    INTEGER NOT NULL,
  token_id         TEXT,
  approved_request TEXT,
  tries            INTEGER NOT NULL,
  retry_at_ms      INTEGER NOT NULL,
  problem          TEXT
) STRICT;

-- Every step of the cluster (machine_id NULL) and of its machines, never changed; the oldest are let go when there are very many.
CREATE TABLE cluster_transitions (
  seq        INTEGER PRIMARY KEY AUTOINCREMENT,
  at_ms      INTEGER NOT NULL,
  machine_id TEXT,
  boot_id    TEXT,
  from_state TEXT NOT NULL,
  to_state   TEXT NOT NULL,
  cause      TEXT NOT NULL,
  generation INTEGER NOT NULL
) STRICT;
CREATE INDEX cluster_transitions_by_machine ON cluster_transitions (machine_id, seq);

-- Until when a master that boots is taken without being asked for: an operator opened the window.
CREATE TABLE armed_masters (
  machine_id TEXT PRIMARY KEY NOT NULL REFERENCES machines (id) ON DELETE CASCADE,
  until_ms   INTEGER NOT NULL,
  armed_by   TEXT NOT NULL
) STRICT;
