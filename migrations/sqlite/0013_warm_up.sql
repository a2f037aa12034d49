-- Warm-up of sending domains: the days that letters were given (policy/warm_up.rs). Days are counted from 1970-01-01 in the workspace's zone.

-- By how many days a site is behind the plan's calendar, and up to which day results have been looked at.
CREATE TABLE warm_up_sites (
    domain TEXT NOT NULL,
    site TEXT NOT NULL,
    behind INTEGER NOT NULL DEFAULT 0,
    settled_on INTEGER NOT NULL,
    PRIMARY KEY (domain, site)
) STRICT, WITHOUT ROWID;

CREATE TABLE warm_up_days (
    id INTEGER PRIMARY KEY,
    domain TEXT NOT NULL,
    site TEXT NOT NULL,
    day INTEGER NOT NULL,
    given INTEGER NOT NULL DEFAULT 0,
    UNIQUE (domain, site, day)
) STRICT;

-- The day that a letter was given; 0: it goes as the identity that sends what is beyond the day's number.
ALTER TABLE messages ADD COLUMN warm_up_day INTEGER;
CREATE INDEX messages_by_warm_up_day ON messages (warm_up_day) WHERE warm_up_day IS NOT NULL;

-- Days of letters that will not be sent, a row each, until they are counted off: by themselves, so that whoever cancels a million letters does not wait
-- for those who give out days.
CREATE TABLE warm_up_freed (
    warm_up_day INTEGER NOT NULL
) STRICT;

-- With what frees reservations in one trigger: each one costs every mark and answer.
DROP TRIGGER reservations_freed;
DROP TRIGGER reservations_dropped;
CREATE TRIGGER freed AFTER UPDATE OF state ON messages WHEN NEW.state IN (0, 8, 9, 10) AND OLD.state NOT IN (0, 8, 9, 10) BEGIN
    DELETE FROM reservations WHERE customer_id = NEW.customer_id AND message_id = NEW.id;
    INSERT INTO warm_up_freed (warm_up_day) SELECT OLD.warm_up_day WHERE OLD.warm_up_day > 0 AND NEW.attempts = 0;
END;
CREATE TRIGGER dropped AFTER DELETE ON messages BEGIN
    DELETE FROM reservations WHERE customer_id = OLD.customer_id AND message_id = OLD.id;
    INSERT INTO warm_up_freed (warm_up_day)
    SELECT OLD.warm_up_day WHERE OLD.warm_up_day > 0 AND OLD.attempts = 0 AND OLD.state NOT IN (0, 8, 9, 10);
END;
