-- Why a run was left out (state cancelled) instead of planned; in words.
ALTER TABLE runs ADD COLUMN left_out TEXT;
