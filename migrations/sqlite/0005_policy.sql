-- The contact policy: what caps count.

-- One row for each message that counts for caps: reserved when planned, moved and confirmed at hand-over. Freed by the triggers below when the
-- message is refused, fails, expires or is cancelled, whoever writes that; a bounce frees nothing.
CREATE TABLE reservations (
    customer_id INTEGER NOT NULL,
    message_id INTEGER NOT NULL,
    campaign_id INTEGER NOT NULL,
    channel INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    -- When it counts: the time for which it is planned, then that of the hand-over.
    at INTEGER NOT NULL,
    is_handed_over INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (customer_id, message_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER reservations_freed AFTER UPDATE OF state ON messages WHEN NEW.state IN (0, 8, 9, 10) AND OLD.state NOT IN (0, 8, 9, 10) BEGIN
    DELETE FROM reservations WHERE customer_id = NEW.customer_id AND message_id = NEW.id;
END;
CREATE TRIGGER reservations_dropped AFTER DELETE ON messages BEGIN
    DELETE FROM reservations WHERE customer_id = OLD.customer_id AND message_id = OLD.id;
END;
