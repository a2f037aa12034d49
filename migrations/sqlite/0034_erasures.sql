-- Keyed hashes of what erased people were known by: what comes in about them later is not kept, and a restored backup is cleaned by them.
CREATE TABLE erasures (
    key BLOB PRIMARY KEY,
    -- 0: an external id.
    channel INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
