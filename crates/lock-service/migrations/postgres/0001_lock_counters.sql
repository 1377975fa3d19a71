-- One row: the largest token reserved so far, the newest epoch opened, and the newest one that the lease store was seen
-- to be in. They only grow.
CREATE TABLE lock_counters (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    token     BIGINT NOT NULL CHECK (token >= 0),
    epoch     BIGINT NOT NULL CHECK (epoch >= 0),
    published BIGINT NOT NULL CHECK (published >= 0)
);
INSERT INTO lock_counters (id, token, epoch, published) VALUES (1, 0, 0, 0);
