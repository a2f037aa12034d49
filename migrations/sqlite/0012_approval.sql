-- A run to which a second person must agree before its messages leave: why, and who agreed when. Until then it is held.
ALTER TABLE runs ADD COLUMN approval_why TEXT;
ALTER TABLE runs ADD COLUMN approved_by TEXT;
ALTER TABLE runs ADD COLUMN approved_at INTEGER;
