-- The contact policy: what caps count.

-- One row for each message that counts for caps: reserved when planned, moved and confirmed at hand-over. Freed by the triggers below when the
-- message is refused, fails, expires or is cancelled, whoever writes that; a bounce frees nothing.
CREATE TABLE reservations (
    customer_id BIGINT NOT NULL,
    message_id BIGINT NOT NULL,
    campaign_id BIGINT NOT NULL,
    channel SMALLINT NOT NULL,
    priority SMALLINT NOT NULL,
    -- When it counts: the time for which it is planned, then that of the hand-over.
    at BIGINT NOT NULL,
    is_handed_over SMALLINT NOT NULL DEFAULT 0,
    PRIMARY KEY (customer_id, message_id)
);

CREATE FUNCTION free_reservation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM reservations WHERE customer_id = OLD.customer_id AND message_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER reservations_freed AFTER UPDATE OF state ON messages FOR EACH ROW
    WHEN (NEW.state IN (0, 8, 9, 10) AND OLD.state NOT IN (0, 8, 9, 10)) EXECUTE FUNCTION free_reservation();
CREATE TRIGGER reservations_dropped AFTER DELETE ON messages FOR EACH ROW EXECUTE FUNCTION free_reservation();
