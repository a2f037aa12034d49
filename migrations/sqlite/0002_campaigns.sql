-- What was applied, and what it became: versions, runs, messages.

-- Content-addressed: every applied file as written, and what was compiled from it.
CREATE TABLE files (
    hash BLOB PRIMARY KEY,
    content BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- An applied version of a campaign, a segment or the workspace (key '').
CREATE TABLE definitions (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- Over everything it reaches.
    hash TEXT NOT NULL,
    -- JSON: path in the workspace → hash (hex) in `files`; everything the version reaches.
    manifest TEXT NOT NULL,
    -- proposed, approved, active, retired
    state TEXT NOT NULL,
    git_commit TEXT NOT NULL,
    applied_by TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    UNIQUE (kind, key, version)
) STRICT;

CREATE TABLE campaigns (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL DEFAULT '',
    class INTEGER NOT NULL,
    topic TEXT,
    category TEXT,
    tags TEXT NOT NULL DEFAULT '[]',
    -- The version in force; NULL when retired.
    version_id INTEGER,
    first_applied_at INTEGER NOT NULL,
    paused_at INTEGER,
    -- The schedule in force, to see when it changes.
    schedule TEXT NOT NULL DEFAULT '',
    -- Occurrences up to here have been looked at.
    scheduled_until INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    campaign_id INTEGER NOT NULL REFERENCES campaigns (id),
    number INTEGER NOT NULL,
    version_id INTEGER NOT NULL,
    -- UTC instant, or local wall time for `zone: recipient`, or test:N.
    occurrence TEXT NOT NULL,
    is_test INTEGER NOT NULL DEFAULT 0,
    due_at INTEGER NOT NULL,
    state INTEGER NOT NULL,
    planned_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    UNIQUE (campaign_id, occurrence),
    UNIQUE (campaign_id, number)
) STRICT;

-- The arms of a run: 0 is held out; from 1 the variants in the order of the file, or the values of an attribute as first seen.
CREATE TABLE arms (
    run_id INTEGER NOT NULL REFERENCES runs (id),
    arm INTEGER NOT NULL,
    name TEXT NOT NULL,
    held_out INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (run_id, arm)
) STRICT, WITHOUT ROWID;

-- The ledger: one row for each selected person of a run, a message or a refusal. Numbers follow the planning order.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL,
    customer_id INTEGER NOT NULL,
    step INTEGER NOT NULL DEFAULT 0,
    entry INTEGER NOT NULL DEFAULT 0,
    channel INTEGER NOT NULL,
    -- Number in `arms`: 0 is held out, variants from 1; -1 when refused before anything was drawn.
    arm INTEGER NOT NULL,
    state INTEGER NOT NULL,
    -- Refusal or Failure (types.rs).
    reason INTEGER,
    detail TEXT,
    -- Fixed when planned; empty after erasure.
    address TEXT,
    site TEXT NOT NULL DEFAULT '',
    due_at INTEGER NOT NULL,
    expires_at INTEGER,
    -- When a message in retry or deferred is taken up again. While one is being tried again, the end of the lease on it.
    next_at INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    provider TEXT,
    provider_id TEXT,
    -- The last change of state.
    changed_at INTEGER NOT NULL,
    accepted_at INTEGER,
    bounced_at INTEGER,
    confirmed_at INTEGER,
    code TEXT,
    -- Compressed variables the template read, for view-in-browser.
    snapshot BLOB,
    UNIQUE (run_id, customer_id, step, entry)
) STRICT;
CREATE INDEX messages_by_customer ON messages (customer_id);
CREATE INDEX messages_waiting ON messages (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX messages_by_provider_id ON messages (provider_id) WHERE provider_id IS NOT NULL;

-- At most 256 messages of a run with numbers first_id..=last_id; what is claimed. The number is that of its first message.
CREATE TABLE blocks (
    id INTEGER PRIMARY KEY,
    run_id INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    -- Who holds it; NULL when free. A block whose messages have all been handed over, or have left it, is deleted.
    node_id INTEGER,
    fence INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX blocks_by_due ON blocks (due_at, id);
CREATE INDEX blocks_by_run ON blocks (run_id);

-- Every try but a first one that was accepted.
CREATE TABLE attempts (
    message_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reply TEXT,
    PRIMARY KEY (message_id, number)
) STRICT, WITHOUT ROWID;

-- A number is never given twice: blocks of a dead process carry its number until they are taken over.
CREATE TABLE nodes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    boot_id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    roles TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    alive_until INTEGER NOT NULL
) STRICT;

-- What an applied version measures: 0 is the goal. The condition on the event's properties stands in the version's file.
CREATE TABLE measures (
    version_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    event TEXT NOT NULL,
    -- The property with the money.
    value TEXT,
    -- As written: a count and a unit.
    within TEXT NOT NULL,
    -- 1 when the event must fit a condition too.
    conditional INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (version_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX measures_by_event ON measures (event);
