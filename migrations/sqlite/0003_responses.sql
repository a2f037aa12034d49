-- What came back, counted as it comes.

-- The tracked links of a version, numbered from 1. `target` is as written; a personal part travels in the token.
CREATE TABLE links (
    version_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    target TEXT NOT NULL,
    personal INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (version_id, number)
) STRICT, WITHOUT ROWID;

-- The first human response of a kind to a message (link 0 = any link): what "unique" counts.
CREATE TABLE firsts (
    message_id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    link INTEGER NOT NULL DEFAULT 0,
    at INTEGER NOT NULL,
    PRIMARY KEY (message_id, kind, link)
) STRICT, WITHOUT ROWID;

-- By intention to treat: everyone drawn in a run, held-out people too.
CREATE TABLE conversions (
    run_id INTEGER NOT NULL,
    customer_id INTEGER NOT NULL,
    measure INTEGER NOT NULL,
    arm INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    events INTEGER NOT NULL,
    -- Minor units; one row a currency ('' when the measure has no value).
    value INTEGER NOT NULL DEFAULT 0,
    currency TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, measure, customer_id, currency)
) STRICT, WITHOUT ROWID;
CREATE INDEX conversions_by_customer ON conversions (customer_id);

-- Counts kept in the event's transaction. `metric` is a number of src/store/tallies.rs.
CREATE TABLE tallies (
    run_id INTEGER NOT NULL,
    step INTEGER NOT NULL,
    arm INTEGER NOT NULL,
    metric INTEGER NOT NULL,
    link INTEGER NOT NULL,
    -- Hours since 1970 in the workspace's zone.
    hour INTEGER NOT NULL,
    site TEXT NOT NULL,
    -- By node, so that machines do not wait for each other.
    slot INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (run_id, step, arm, metric, link, hour, site, slot)
) STRICT, WITHOUT ROWID;
