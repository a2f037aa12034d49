-- Keyed hashes of what erased people were known by: what comes in about them later is not kept, and a restored backup is cleaned by them.
CREATE TABLE erasures (
    key BYTEA PRIMARY KEY,
    -- 0: an external id.
    channel SMALLINT NOT NULL,
    at BIGINT NOT NULL
);
