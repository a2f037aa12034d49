-- What starts campaigns in force: an event's name, `message.RESPONSE` or `consent.TOPIC`.
CREATE TABLE triggers (
    name TEXT NOT NULL COLLATE "C",
    campaign_id BIGINT NOT NULL REFERENCES campaigns (id),
    -- What happened before is not looked at.
    since BIGINT NOT NULL,
    PRIMARY KEY (name, campaign_id)
);

-- What happened and may start a campaign for its customer: written in the transaction of what happened, taken out in that of the message.
CREATE TABLE starts (
    campaign_id BIGINT NOT NULL,
    -- The event, or the change of consent.
    entry BIGINT NOT NULL,
    customer_id BIGINT NOT NULL,
    at BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, entry)
);
