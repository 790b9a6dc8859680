-- Who may sign images. `scopes` as policy.json writes them.
CREATE TABLE signers (
  name          TEXT PRIMARY KEY NOT NULL,
  scopes        TEXT NOT NULL CHECK (json_valid(scopes)),
  added_at_ms   INTEGER NOT NULL,
  expires_at_ms INTEGER,
  revoked_at_ms INTEGER
) STRICT;

-- Their public keys: a key is one signer's.
CREATE TABLE signer_keys (
  fingerprint   TEXT PRIMARY KEY NOT NULL,
  signer        TEXT NOT NULL REFERENCES signers (name) ON DELETE CASCADE,
  algorithm     TEXT NOT NULL,
  user_ids      TEXT NOT NULL CHECK (json_valid(user_ids)),
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER,
  is_revoked    INTEGER NOT NULL CHECK (is_revoked IN (0, 1)),
  octets        BLOB NOT NULL
) STRICT;

-- Signatures that were verified when they came. `position` counts from 1 without gaps. They go with their image.
CREATE TABLE image_signatures (
  repository    TEXT NOT NULL,
  digest        TEXT NOT NULL,
  position      INTEGER NOT NULL CHECK (position BETWEEN 1 AND 128),
  -- SHA-256 of the octets.
  id            TEXT NOT NULL,
  fingerprint   TEXT NOT NULL,
  reference     TEXT NOT NULL,
  signed_at_ms  INTEGER NOT NULL,
  expires_at_ms INTEGER,
  added_at_ms   INTEGER NOT NULL,
  added_by      TEXT NOT NULL,
  octets        BLOB NOT NULL,
  PRIMARY KEY (repository, digest, position),
  FOREIGN KEY (repository, digest) REFERENCES registry_manifest (repository, digest) ON DELETE CASCADE
) STRICT;
