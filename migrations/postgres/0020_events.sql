-- On SQLite events get an index of their own for their uniqueness, which a first import leaves out. Here nothing changes.
SELECT 1;
