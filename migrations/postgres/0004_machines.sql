-- What processes share while they send: the pace of what is limited, and who tries which message again.

-- Of a limited pace, by name: until when its slots have been taken, in microseconds since 1970.
CREATE TABLE rates (
    name TEXT PRIMARY KEY,
    next_at BIGINT NOT NULL
);

-- Who tries a message again; NULL when nobody does. Messages of a block go with the block.
ALTER TABLE messages ADD COLUMN node_id BIGINT;
CREATE INDEX messages_tried ON messages (node_id) WHERE node_id IS NOT NULL;
