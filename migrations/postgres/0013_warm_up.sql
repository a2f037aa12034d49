-- Warm-up of sending domains: the days that letters were given (policy/warm_up.rs). Days are counted from 1970-01-01 in the workspace's zone.

-- By how many days a site is behind the plan's calendar, and up to which day results have been looked at.
CREATE TABLE warm_up_sites (
    domain TEXT NOT NULL,
    site TEXT NOT NULL,
    behind BIGINT NOT NULL DEFAULT 0,
    settled_on BIGINT NOT NULL,
    PRIMARY KEY (domain, site)
);

CREATE TABLE warm_up_days (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain TEXT NOT NULL,
    site TEXT NOT NULL,
    day BIGINT NOT NULL,
    given BIGINT NOT NULL DEFAULT 0,
    UNIQUE (domain, site, day)
);

-- The day that a letter was given; 0: it goes as the identity that sends what is beyond the day's number.
ALTER TABLE messages ADD COLUMN warm_up_day BIGINT;
CREATE INDEX messages_by_warm_up_day ON messages (warm_up_day) WHERE warm_up_day IS NOT NULL;

-- Days of letters that will not be sent, a row each, until they are counted off: by themselves, so that whoever cancels a million letters does not wait
-- for those who give out days.
CREATE TABLE warm_up_freed (
    warm_up_day BIGINT NOT NULL
);

CREATE FUNCTION free_warm_up_day() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO warm_up_freed (warm_up_day) VALUES (OLD.warm_up_day);
    RETURN NULL;
END $$;
CREATE TRIGGER warm_up_freed_by_state AFTER UPDATE OF state ON messages FOR EACH ROW
    WHEN (OLD.warm_up_day > 0 AND NEW.attempts = 0 AND NEW.state IN (0, 8, 9, 10) AND OLD.state NOT IN (0, 8, 9, 10))
    EXECUTE FUNCTION free_warm_up_day();
CREATE TRIGGER warm_up_freed_by_dropping AFTER DELETE ON messages FOR EACH ROW
    WHEN (OLD.warm_up_day > 0 AND OLD.attempts = 0 AND OLD.state NOT IN (0, 8, 9, 10)) EXECUTE FUNCTION free_warm_up_day();
