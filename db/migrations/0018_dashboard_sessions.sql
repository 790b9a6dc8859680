-- Who is signed in to the dashboard. A session is its token's, and ends with it; NULL: the server's own administrator's.
CREATE TABLE sessions (
  -- SHA-256 of the cookie's secret, hex.
  hash            TEXT PRIMARY KEY NOT NULL,
  token_id        TEXT,
  created_at_ms   INTEGER NOT NULL,
  last_used_at_ms INTEGER NOT NULL
) STRICT;

-- Links that sign in once.
CREATE TABLE sign_in_links (
  hash          TEXT PRIMARY KEY NOT NULL,
  token_id      TEXT,
  created_at_ms INTEGER NOT NULL
) STRICT;
