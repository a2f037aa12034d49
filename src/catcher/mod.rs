//! A mail and SMS receiver for the demo, for tests and for trying things: keeps what it gets, shows it.
