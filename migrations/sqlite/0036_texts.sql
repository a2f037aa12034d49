-- Texts: those that went in parts, and answers to words like STOP and HELP.

-- Each part has a number of its own at the provider and gets a receipt of its own.
CREATE TABLE message_parts (
    message_id INTEGER NOT NULL,
    -- As the provider calls the part.
    provider_id TEXT NOT NULL,
    -- What its receipt said: 1 arrived, 2 failed; empty before.
    state INTEGER,
    PRIMARY KEY (message_id, provider_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_parts_by_provider_id ON message_parts (provider_id);

CREATE TRIGGER message_parts_dropped AFTER DELETE ON messages BEGIN
    DELETE FROM message_parts WHERE message_id = OLD.id;
END;

-- Answers to words like STOP and HELP, where a provider is set up to send them: at most one of a kind to a number in a day. Marked before it is sent, so that
-- none goes twice; who it goes to is forgotten as soon as it is over.
CREATE TABLE keyword_answers (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    -- The key of the number's suppression.
    key BLOB NOT NULL,
    -- 1 to a word that ends consent, 2 to a word that asks for help.
    kind INTEGER NOT NULL,
    at INTEGER NOT NULL,
    -- It is sent until then, or not at all.
    until INTEGER NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    text TEXT NOT NULL,
    -- 1 waits, 2 is being sent, 3 is over.
    state INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    detail TEXT,
    UNIQUE (provider, key, kind)
) STRICT;
CREATE INDEX keyword_answers_open ON keyword_answers (next_at) WHERE state <> 3;
