-- What providers tell us by webhooks: stored before it is answered, read afterwards.

CREATE TABLE hooks (
    id INTEGER PRIMARY KEY,
    -- The name in posthaste.yaml, and whose form it has.
    provider TEXT NOT NULL,
    kind TEXT NOT NULL,
    -- 16-byte hash that is the same for the same request sent again.
    key BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    -- Compressed; NULL once it is read.
    request BLOB,
    -- Why it could not be read; the request is kept then, for people.
    why TEXT,
    UNIQUE (provider, key)
) STRICT;
CREATE INDEX hooks_waiting ON hooks (id) WHERE request IS NOT NULL AND why IS NULL;
CREATE INDEX hooks_by_age ON hooks (received_at);

-- Happenings whose message is not known, or not yet: they may have come before our own commit. Looked at again for 72 hours.
CREATE TABLE orphans (
    provider TEXT NOT NULL,
    -- 16-byte hash of the provider's number of the event.
    key BLOB NOT NULL,
    -- JSON
    told TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    PRIMARY KEY (provider, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX orphans_by_due ON orphans (next_at);

-- How many requests came, by what became of them: taken, repeated, unread, or why they were refused.
CREATE TABLE hook_counts (
    provider TEXT NOT NULL,
    outcome TEXT NOT NULL,
    -- Days since 1970.
    day INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (provider, outcome, day)
) STRICT, WITHOUT ROWID;
