-- Sign-up forms and double opt-in; consent that ends by itself.

-- A sign-up that waits to be confirmed; it goes when it is, or after 30 days. PERSONAL DATA: `key`, `fields` and `proof` (network, user agent).
CREATE TABLE signups (
    customer_id BIGINT NOT NULL,
    form TEXT NOT NULL,
    channel SMALLINT NOT NULL,
    -- The address's keyed hash, as in `addresses`.
    key BYTEA NOT NULL,
    -- JSON list: what is asked to be confirmed.
    topics TEXT NOT NULL,
    -- JSON object: what was typed besides the address, by somebody who may be a stranger; taken over when it is confirmed.
    fields TEXT NOT NULL,
    -- JSON object: form, wording, language, page, time, network, user agent.
    proof TEXT NOT NULL,
    -- 1 when the sign-up made the customer: who never confirms goes with it, if nothing else is known of them.
    made SMALLINT NOT NULL,
    asked_at BIGINT NOT NULL,
    reminded_at BIGINT,
    PRIMARY KEY (customer_id, form, channel)
);
CREATE INDEX signups_by_age ON signups (asked_at);

-- When confirming messages were asked for, by the address's keyed hash: for the limit of 24 hours, after which the rows go.
CREATE TABLE signup_asks (
    key BYTEA NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (key, at)
);
CREATE INDEX signup_asks_by_age ON signup_asks (at);

-- Every text that somebody has agreed to, word for word; proofs name it by its hash.
CREATE TABLE wordings (
    hash TEXT PRIMARY KEY,
    language TEXT NOT NULL,
    text TEXT NOT NULL,
    first_at BIGINT NOT NULL
);

-- How many posts came, by what became of them.
CREATE TABLE form_counts (
    form TEXT NOT NULL,
    outcome TEXT NOT NULL,
    -- Days since 1970.
    day BIGINT NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (form, outcome, day)
);

-- When a consent ends by itself (Canada's implied consent); NULL: it does not.
ALTER TABLE consents ADD COLUMN until BIGINT;
ALTER TABLE consent_state ADD COLUMN until BIGINT;
CREATE INDEX consent_state_ending ON consent_state (until) WHERE until IS NOT NULL;
