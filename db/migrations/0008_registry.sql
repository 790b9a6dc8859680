-- The container registry. Content lies in the content store under its digest (`sha256:<hex>`, `sha512:<hex>`); here is what it means.

-- Content that the registry keeps, blobs and manifests alike.
CREATE TABLE registry_blob (
  digest        TEXT PRIMARY KEY NOT NULL,
  size_bytes    INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL,
  used_at_ms    INTEGER NOT NULL,
  -- What is being deleted is not there for anybody, and a new upload of it brings it back.
  state         TEXT NOT NULL DEFAULT 'present' CHECK (state IN ('present', 'deleting'))
) STRICT, WITHOUT ROWID;

CREATE TABLE registry_repository (
  name          TEXT PRIMARY KEY NOT NULL,
  created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A blob is visible in a repository that it was pushed to or mounted into, and in no other.
CREATE TABLE registry_link (
  repository    TEXT NOT NULL REFERENCES registry_repository (name) ON DELETE CASCADE,
  digest        TEXT NOT NULL REFERENCES registry_blob (digest),
  created_at_ms INTEGER NOT NULL,
  PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_link_by_digest ON registry_link (digest);

CREATE TABLE registry_manifest (
  repository        TEXT NOT NULL REFERENCES registry_repository (name) ON DELETE CASCADE,
  digest            TEXT NOT NULL REFERENCES registry_blob (digest),
  media_type        TEXT NOT NULL,
  artifact_type     TEXT,
  config_media_type TEXT,
  -- The manifest that this one is about; it need not be there.
  subject           TEXT,
  -- Kept for the list of referrers, so of manifests with a subject alone.
  annotations       TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(annotations)),
  size_bytes        INTEGER NOT NULL,
  created_at_ms     INTEGER NOT NULL,
  PRIMARY KEY (repository, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_manifest_by_digest ON registry_manifest (digest);
CREATE INDEX registry_manifest_by_subject ON registry_manifest (repository, subject) WHERE subject IS NOT NULL;

-- What a manifest needs.
CREATE TABLE registry_reference (
  repository TEXT NOT NULL,
  parent     TEXT NOT NULL,
  child      TEXT NOT NULL,
  kind       TEXT NOT NULL CHECK (kind IN ('config', 'layer', 'manifest', 'blob')),
  PRIMARY KEY (repository, parent, child, kind),
  FOREIGN KEY (repository, parent) REFERENCES registry_manifest (repository, digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_reference_by_child ON registry_reference (child, repository);

CREATE TABLE registry_tag (
  repository    TEXT NOT NULL,
  name          TEXT NOT NULL,
  digest        TEXT NOT NULL,
  updated_at_ms INTEGER NOT NULL,
  updated_by    TEXT NOT NULL,
  PRIMARY KEY (repository, name),
  FOREIGN KEY (repository, digest) REFERENCES registry_manifest (repository, digest) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX registry_tag_by_digest ON registry_tag (repository, digest);

-- Uploads under way; how far one is, its file tells.
CREATE TABLE registry_upload (
  id            TEXT PRIMARY KEY NOT NULL,
  repository    TEXT NOT NULL,
  algorithm     TEXT NOT NULL CHECK (algorithm IN ('sha256', 'sha512')),
  created_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Content that somebody was told is there, and who is about to name it in a manifest: it stays until then.
CREATE TABLE registry_lease (
  digest   TEXT PRIMARY KEY NOT NULL,
  until_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Repositories that an imagemaker's token may push to and delete from: patterns with `*`; NULL: all.
ALTER TABLE tokens ADD COLUMN repositories TEXT CHECK (repositories IS NULL OR json_valid(repositories));
