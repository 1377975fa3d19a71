-- What caches rebuild from.
CREATE TABLE items (
    key     TEXT PRIMARY KEY,
    version BIGINT NOT NULL CHECK (version >= 1),
    value   BYTEA NOT NULL
);

-- One row: how many of the rows item-1, item-2, ... were made, so that a restart makes none again.
CREATE TABLE seeding (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    rows BIGINT NOT NULL CHECK (rows >= 0)
);
INSERT INTO seeding (id, rows) VALUES (1, 0);
