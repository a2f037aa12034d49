-- A run that was stopped by itself: paused, and since when a person has to look. `held_why` stays when a person lets it go on: it is not stopped again.
ALTER TABLE runs ADD COLUMN held_at BIGINT;
ALTER TABLE runs ADD COLUMN held_why TEXT;
