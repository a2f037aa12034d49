//! A due campaign → one row of the ledger a selected person: a message, or a refusal with its reason.
