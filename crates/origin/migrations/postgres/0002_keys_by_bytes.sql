-- Keys are given out in order: that of their bytes, as SQLite has it, whatever the language of the database.
ALTER TABLE items ALTER COLUMN key TYPE TEXT COLLATE "C";
