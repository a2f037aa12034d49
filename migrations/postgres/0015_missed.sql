-- Occurrences of schedules that went by without a run: those that followed each other for one reason stand in one row.
CREATE TABLE missed (
    campaign_id BIGINT NOT NULL REFERENCES campaigns (id),
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    -- As `runs.occurrence` would name them.
    first_occurrence TEXT NOT NULL,
    last_occurrence TEXT NOT NULL,
    occurrences BIGINT NOT NULL,
    -- In words.
    why TEXT NOT NULL,
    noticed_at BIGINT NOT NULL,
    PRIMARY KEY (campaign_id, first_at)
);
