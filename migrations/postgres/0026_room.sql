-- A message is changed twice in a short time, when it is handed over and when it is answered. With room on its page the new row stands beside the old one, and
-- no index is touched (HOT); the room is used again by the next change. Rows that are there stay where they are.
ALTER TABLE messages SET (fillfactor = 50);
