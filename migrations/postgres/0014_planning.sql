-- Who plans: one process at a time, while its lease lasts. Each that takes the right over raises the fence, and every write of a plan asks for the fence
-- it began with. One row.
CREATE TABLE planning (
    id SMALLINT PRIMARY KEY,
    node_id BIGINT,
    fence BIGINT NOT NULL
);
INSERT INTO planning (id, node_id, fence) VALUES (1, NULL, 0);
