-- Occurrences of schedules that went by without a run: those that followed each other for one reason stand in one row.
CREATE TABLE missed (
    campaign_id INTEGER NOT NULL REFERENCES campaigns (id),
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    -- As `runs.occurrence` would name them.
    first_occurrence TEXT NOT NULL,
    last_occurrence TEXT NOT NULL,
    occurrences INTEGER NOT NULL,
    -- In words.
    why TEXT NOT NULL,
    noticed_at INTEGER NOT NULL,
    PRIMARY KEY (campaign_id, first_at)
) STRICT, WITHOUT ROWID;
