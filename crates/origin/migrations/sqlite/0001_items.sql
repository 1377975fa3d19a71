-- What caches rebuild from.
CREATE TABLE items (
    key     TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL CHECK (version >= 1),
    value   BLOB NOT NULL
) WITHOUT ROWID;

-- One row: how many of the rows item-1, item-2, ... were made, so that a restart makes none again.
CREATE TABLE seeding (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    rows INTEGER NOT NULL CHECK (rows >= 0)
);
INSERT INTO seeding (id, rows) VALUES (1, 0);
