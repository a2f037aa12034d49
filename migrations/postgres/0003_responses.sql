-- What came back, counted as it comes.

-- The tracked links of a version, numbered from 1. `target` is as written; a personal part travels in the token.
CREATE TABLE links (
    version_id BIGINT NOT NULL,
    number INTEGER NOT NULL,
    target TEXT COLLATE "C" NOT NULL,
    personal SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (version_id, number)
);

-- The first human response of a kind to a message (link 0 = any link): what "unique" counts.
CREATE TABLE firsts (
    message_id BIGINT NOT NULL,
    kind SMALLINT NOT NULL,
    link INTEGER NOT NULL DEFAULT 0,
    at BIGINT NOT NULL,
    PRIMARY KEY (message_id, kind, link)
);

-- By intention to treat: everyone drawn in a run, held-out people too.
CREATE TABLE conversions (
    run_id BIGINT NOT NULL,
    customer_id BIGINT NOT NULL,
    measure SMALLINT NOT NULL,
    arm SMALLINT NOT NULL,
    first_at BIGINT NOT NULL,
    events INTEGER NOT NULL,
    -- Minor units; one row a currency ('' when the measure has no value).
    value BIGINT NOT NULL DEFAULT 0,
    currency TEXT COLLATE "C" NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, measure, customer_id, currency)
);
CREATE INDEX conversions_by_customer ON conversions (customer_id);

-- Counts kept in the event's transaction. `metric` is a number of src/store/tallies.rs.
CREATE TABLE tallies (
    run_id BIGINT NOT NULL,
    step SMALLINT NOT NULL,
    arm SMALLINT NOT NULL,
    metric SMALLINT NOT NULL,
    link INTEGER NOT NULL,
    -- Hours since 1970 in the workspace's zone.
    hour INTEGER NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    -- By node, so that machines do not wait for each other.
    slot SMALLINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (run_id, step, arm, metric, link, hour, site, slot)
);
