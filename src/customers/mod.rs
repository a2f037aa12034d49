//! Import, show, find, export and erase people and their history.
