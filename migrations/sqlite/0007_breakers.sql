-- Providers that a process found not answering: their circuit breaker is open. A row goes when the provider answers again, or the process is forgotten.
CREATE TABLE breakers (
    node_id INTEGER NOT NULL,
    provider TEXT NOT NULL,
    since INTEGER NOT NULL,
    why TEXT NOT NULL,
    PRIMARY KEY (node_id, provider)
) STRICT, WITHOUT ROWID;
