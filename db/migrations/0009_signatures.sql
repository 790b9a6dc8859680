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
  format        TEXT NOT NULL CHECK (format IN ('openpgp', 'sigstore')),
  signer        TEXT NOT NULL REFERENCES signers (name) ON DELETE CASCADE,
  algorithm     TEXT NOT NULL,
  user_ids      TEXT NOT NULL CHECK (json_valid(user_ids)),
  -- Keys of cosign's say nothing of it.
  created_at_ms INTEGER,
  expires_at_ms INTEGER,
  is_revoked    INTEGER NOT NULL CHECK (is_revoked IN (0, 1)),
  octets        BLOB NOT NULL
) STRICT;

-- Signatures that were verified when they came. `position` counts from 1 without gaps. They go with their image.
CREATE TABLE image_signatures (
  repository    TEXT NOT NULL,
  digest        TEXT NOT NULL,
  -- `sigstore`: it came in an image with the tag `sha256-<hex>.sig`.
  format        TEXT NOT NULL CHECK (format IN ('openpgp', 'sigstore')),
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
  PRIMARY KEY (repository, digest, format, position),
  FOREIGN KEY (repository, digest) REFERENCES registry_manifest (repository, digest) ON DELETE CASCADE
) STRICT;

-- What such a tag leads to is all that counts: without it, or when it leads elsewhere, the signatures are gone in the same moment.
CREATE TRIGGER attachment_removed AFTER DELETE ON registry_tag WHEN old.name GLOB 'sha256-*.sig' AND length(old.name) = 75 BEGIN
  DELETE FROM image_signatures
    WHERE repository = old.repository AND digest = 'sha256:' || substr(old.name, 8, 64) AND format = 'sigstore';
END;
CREATE TRIGGER attachment_replaced AFTER UPDATE OF digest ON registry_tag
  WHEN old.name GLOB 'sha256-*.sig' AND length(old.name) = 75 AND old.digest <> new.digest BEGIN
  DELETE FROM image_signatures
    WHERE repository = old.repository AND digest = 'sha256:' || substr(old.name, 8, 64) AND format = 'sigstore';
END;
