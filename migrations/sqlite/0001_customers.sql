-- Customers, how they are reached, what happened to them, what they agreed to.
-- Times are microseconds since 1970, UTC. Channels, states and reasons are the numbers of src/types.rs.

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE customers (
    id INTEGER PRIMARY KEY,
    external_id TEXT,
    -- External id, else first address: fixed when the customer is made; what chance is drawn from.
    draw_key TEXT NOT NULL,
    first_name TEXT,
    last_name TEXT,
    language TEXT,
    country TEXT,
    zone TEXT,
    attributes TEXT NOT NULL DEFAULT '{}',
    -- Texts of own fields and attributes in lower case, where that differs from what is written; for `contains`.
    folded TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    erased_at INTEGER
) STRICT;
-- Not a constraint of the table, so that a first import can build it after the rows are in.
CREATE UNIQUE INDEX customers_by_external_id ON customers (external_id);

CREATE TABLE addresses (
    customer_id INTEGER NOT NULL REFERENCES customers (id),
    channel INTEGER NOT NULL,
    -- Normalised: email with its local part as given and a lower-case ASCII domain, phone as E.164.
    address TEXT NOT NULL,
    is_primary INTEGER NOT NULL DEFAULT 1,
    -- HMAC(pepper, channel, address in lower case), 16 bytes: what suppressions are kept and customers are found under.
    key BLOB NOT NULL,
    -- Mailbox site family of an email address (gmail, yahoo, …, or its domain).
    site TEXT NOT NULL DEFAULT '',
    verified_at INTEGER,
    soft_bounces INTEGER NOT NULL DEFAULT 0,
    engaged_at INTEGER,
    PRIMARY KEY (customer_id, channel, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX addresses_by_key ON addresses (key);

-- Attribute catalogue: every attribute ever seen, with its type.
CREATE TABLE attributes (
    path TEXT PRIMARY KEY,
    type TEXT NOT NULL,
    declared INTEGER NOT NULL DEFAULT 0,
    first_seen_at INTEGER NOT NULL
) STRICT;

CREATE TABLE events (
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
    source_key BLOB NOT NULL,
    UNIQUE (customer_id, source_key)
) STRICT;
CREATE INDEX events_by_name ON events (name, customer_id, occurred_at);
CREATE INDEX events_by_message ON events (message_id) WHERE message_id IS NOT NULL;

CREATE TABLE consents (
    id INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    channel INTEGER NOT NULL,
    state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    proof TEXT,
    source_key BLOB NOT NULL,
    UNIQUE (customer_id, source_key)
) STRICT;

CREATE TABLE consent_state (
    customer_id INTEGER NOT NULL,
    topic TEXT NOT NULL,
    channel INTEGER NOT NULL,
    state INTEGER NOT NULL,
    at INTEGER NOT NULL,
    has_proof INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (customer_id, topic, channel)
) STRICT, WITHOUT ROWID;

CREATE TABLE suppressions (
    key BLOB PRIMARY KEY,
    channel INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER,
    source TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE TABLE catalog_rows (
    catalog TEXT NOT NULL,
    key TEXT NOT NULL,
    "values" TEXT NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (catalog, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT
) STRICT;
