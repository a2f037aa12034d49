-- Mail that comes back (inbound), kept before it is acknowledged; its text goes when it has been read.
CREATE TABLE inbound_mail (
    id INTEGER PRIMARY KEY,
    -- Of the mail and whom it was for: the same mail given twice is one row.
    digest BLOB NOT NULL UNIQUE,
    received_at INTEGER NOT NULL,
    sender TEXT NOT NULL,
    -- A JSON list.
    recipients TEXT NOT NULL,
    raw BLOB,
    -- 1 waits to be read, 2 waits to be forwarded, 3 done, 4 given up.
    state INTEGER NOT NULL DEFAULT 1,
    tries INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER,
    kind TEXT,
    message_id INTEGER,
    detail TEXT
) STRICT;
CREATE INDEX inbound_mail_waiting ON inbound_mail (next_at) WHERE next_at IS NOT NULL;

-- Failures of an address that suppress it only when they come again (store/strikes.rs): 1 soft, 2 dead for now.
CREATE TABLE strikes (
    key BLOB NOT NULL,
    kind INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (key, kind)
) STRICT, WITHOUT ROWID;
