-- Students, whose namespaces each generation of the cluster gets.
CREATE TABLE students (
  name             TEXT PRIMARY KEY NOT NULL CHECK (length(name) BETWEEN 1 AND 63),
  created_at_ms    INTEGER NOT NULL,
  created_by       TEXT NOT NULL,
  -- A cluster was asked for objects of the student.
  is_in_cluster    INTEGER NOT NULL CHECK (is_in_cluster IN (0, 1)),
  leaving_since_ms INTEGER,
  leaving_by       TEXT,
  CHECK ((leaving_since_ms IS NULL) = (leaving_by IS NULL))
) STRICT;

-- That tokens were handed out, and until when they are good; the tokens themselves are kept nowhere.
CREATE TABLE student_tokens (
  seq           INTEGER PRIMARY KEY,
  student       TEXT NOT NULL REFERENCES students (name) ON DELETE CASCADE,
  issued_at_ms  INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  issued_by     TEXT NOT NULL,
  generation    INTEGER NOT NULL
) STRICT;
CREATE INDEX student_tokens_by_student ON student_tokens (student, seq);
