-- What the messages of a run cost by the providers' prices as they were planned, in minor units of the limit's currency; 0 without a limit of cost.
ALTER TABLE runs ADD COLUMN cost INTEGER NOT NULL DEFAULT 0;
