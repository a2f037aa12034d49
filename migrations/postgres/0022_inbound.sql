-- Mail that comes back (inbound), kept before it is acknowledged; its text goes when it has been read.
CREATE TABLE inbound_mail (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Of the mail and whom it was for: the same mail given twice is one row.
    digest BYTEA NOT NULL UNIQUE,
    received_at BIGINT NOT NULL,
    sender TEXT NOT NULL,
    -- A JSON list.
    recipients TEXT NOT NULL,
    raw BYTEA,
    -- 1 waits to be read, 2 waits to be forwarded, 3 done, 4 given up.
    state SMALLINT NOT NULL DEFAULT 1,
    tries INTEGER NOT NULL DEFAULT 0,
    next_at BIGINT,
    kind TEXT,
    message_id BIGINT,
    detail TEXT
);
CREATE INDEX inbound_mail_waiting ON inbound_mail (next_at) WHERE next_at IS NOT NULL;

-- Failures of an address that suppress it only when they come again (store/strikes.rs): 1 soft, 2 dead for now.
CREATE TABLE strikes (
    key BYTEA NOT NULL,
    kind SMALLINT NOT NULL,
    channel SMALLINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (key, kind)
);
