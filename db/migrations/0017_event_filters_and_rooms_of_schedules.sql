-- Each filter of the event log has an index, in whose order the newest events are found without looking at the others.
CREATE INDEX events_by_type ON events (type, seq);
CREATE INDEX events_by_actor ON events (actor, seq) WHERE actor IS NOT NULL;
CREATE INDEX events_by_time ON events (at_ms);
-- Events of a room itself, for tokens of some rooms.
CREATE INDEX events_by_group ON events (json_extract(data, '$.group'), seq) WHERE machine_id IS NULL;

-- Schedules of tokens of some rooms stay within them: a JSON list of groups; NULL is all machines.
ALTER TABLE schedules ADD COLUMN rooms TEXT CHECK (rooms IS NULL OR json_valid(rooms));
