-- What starts campaigns in force: an event's name, `message.RESPONSE` or `consent.TOPIC`.
CREATE TABLE triggers (
    name TEXT NOT NULL,
    campaign_id INTEGER NOT NULL REFERENCES campaigns (id),
    -- What happened before is not looked at.
    since INTEGER NOT NULL,
    PRIMARY KEY (name, campaign_id)
) STRICT, WITHOUT ROWID;

-- What happened and may start a campaign for its customer: written in the transaction of what happened, taken out in that of the message.
CREATE TABLE starts (
    campaign_id INTEGER NOT NULL,
    -- The event, or the change of consent.
    entry INTEGER NOT NULL,
    customer_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, entry)
) STRICT, WITHOUT ROWID;
