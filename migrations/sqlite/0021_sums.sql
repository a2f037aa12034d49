-- The ledger's sums of runs that are over, so that a report does not read a million messages again and again.

-- 1 where the run's sums stand in `settled`; how often a person has decided about its messages since it was made.
ALTER TABLE runs ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN decided INTEGER NOT NULL DEFAULT 0;

CREATE TABLE settled (
    run_id INTEGER NOT NULL,
    arm INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    -- The family of the mailbox site.
    site TEXT NOT NULL,
    state INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    messages INTEGER NOT NULL,
    PRIMARY KEY (run_id, arm, channel, site, state, reason)
) STRICT, WITHOUT ROWID;

-- What goes on changing when a run is over: few messages bounce.
CREATE INDEX messages_bounced ON messages (run_id) WHERE bounced_at IS NOT NULL;
CREATE INDEX messages_confirmed ON messages (run_id) WHERE confirmed_at IS NOT NULL;

-- What followed a click: each event that credits a message, with its worth in minor units.
CREATE TABLE credits (
    run_id INTEGER NOT NULL,
    measure INTEGER NOT NULL,
    arm INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    customer_id INTEGER NOT NULL,
    -- When the event happened.
    at INTEGER NOT NULL,
    currency TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (customer_id, event_id, measure)
) STRICT, WITHOUT ROWID;
CREATE INDEX credits_by_run ON credits (run_id);

-- Sums over `conversions` and `credits`, kept in their transactions.
CREATE TABLE sums (
    -- 1: who converted; 2: what followed a click.
    kind INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    measure INTEGER NOT NULL,
    arm INTEGER NOT NULL,
    currency TEXT NOT NULL,
    -- People who converted, 0 for what followed a click.
    customers INTEGER NOT NULL,
    events INTEGER NOT NULL,
    value INTEGER NOT NULL,
    -- Of each person's value, for intervals.
    squares REAL NOT NULL,
    PRIMARY KEY (kind, run_id, measure, arm, currency)
) STRICT, WITHOUT ROWID;

-- 1 for runs that were there before this: what followed a click is found from all their clicks, who converted from all their conversions.
ALTER TABLE runs ADD COLUMN unsummed INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET unsummed = 1;
