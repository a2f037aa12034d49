-- Events keep their uniqueness in an index of its own, so that a first import can build it after the rows are in.
CREATE TABLE events_as_they_are (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    properties TEXT NOT NULL DEFAULT '{}',
    folded TEXT,
    -- Minor units by the currency's ISO 4217 exponent; filled at ingest.
    value INTEGER,
    currency TEXT,
    -- The message this event answers (name `message.opened`, …), and whether a person made it (Verdict).
    message_id INTEGER,
    link INTEGER,
    verdict INTEGER NOT NULL DEFAULT 0,
    -- 16-byte hash of source + external id, else of the row and its ordinal among equal rows of the file.
    source_key BLOB NOT NULL
) STRICT;
INSERT INTO events_as_they_are
    SELECT id, customer_id, name, occurred_at, received_at, properties, folded, value, currency, message_id, link, verdict, source_key FROM events;
DROP TABLE events;
ALTER TABLE events_as_they_are RENAME TO events;
CREATE UNIQUE INDEX events_by_key ON events (customer_id, source_key);
CREATE INDEX events_by_name ON events (name, customer_id, occurred_at);
CREATE INDEX events_by_message ON events (message_id) WHERE message_id IS NOT NULL;
