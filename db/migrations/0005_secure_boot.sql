-- Whether a machine's firmware has Secure Boot on (1) or off (0), by its own word; NULL: it has not said.
ALTER TABLE machines ADD COLUMN secure_boot INTEGER;
