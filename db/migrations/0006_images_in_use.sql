-- Since when a version of an image is, or was last, the one that machines boot: the way back.
ALTER TABLE images ADD COLUMN current_since_ms INTEGER;
UPDATE images SET current_since_ms = added_at_ms;

-- The image that a script was made for: the boot keeps it, whatever version is chosen meanwhile.
ALTER TABLE claims ADD COLUMN image TEXT CHECK (image IS NULL OR json_valid(image));

-- What happens to machines whose RAM seems too little for their role; NULL: it is left to the next in line.
ALTER TABLE machines ADD COLUMN ram_check TEXT;
ALTER TABLE groups ADD COLUMN ram_check TEXT;
