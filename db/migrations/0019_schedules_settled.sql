-- What becomes of the machines' power at a schedule's time.
ALTER TABLE schedules ADD COLUMN power TEXT NOT NULL DEFAULT 'none' CHECK (power IN ('none', 'wake', 'cycle'));

-- The newest occurrences that were seen to: [{local, at}], local as clocks show it (2026-03-02T12:00).
ALTER TABLE schedules ADD COLUMN settled TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(settled));

-- The student's name as it was asked for; two persons may come to one namespace. NULL: from before this column.
ALTER TABLE students ADD COLUMN asked TEXT;
