-- Content of the registry that can be fetched again from an upstream, and goes when the cache is full.
CREATE TABLE registry_cached (
  repository TEXT NOT NULL REFERENCES registry_repository (name) ON DELETE CASCADE,
  digest     TEXT NOT NULL REFERENCES registry_blob (digest) ON DELETE CASCADE,
  used_at_ms INTEGER NOT NULL,
  PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_cached_by_digest ON registry_cached (digest, used_at_ms);
