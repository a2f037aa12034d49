//! Posthaste: a marketing automation campaign engine. Campaigns are files; this library checks them, shows what they would do,
//! runs them on schedule, sends, records every response and reports what was achieved.
//!
//! # The way of one campaign
//!
//! ```text
//! define   campaigns::read     files → Definitions (a Campaign holds a Condition, a Schedule, a Message)
//! select   store::audience     Condition → one SQL condition → customers
//! plan     plan                policy, experiments → a row of the ledger each: a message or a refusal
//! render   templates, then tracking::mark_up (links, open pixel, unsubscribe)
//! deliver  dispatch            claim a block → mark → providers::Provider::send → commit
//! respond  tracking, server    open, click, unsubscribe, conversion → events and tallies in one transaction
//!          inbound             bounces, complaints and answers by mail → the same
//!          webhooks, feedback  what providers tell: proved, stored, answered; then read, matched to its message, recorded
//! report   reports             the sums of the ledger, responses, lift
//! ```
//!
//! Stages meet in tables, not in each other's functions. **Each module uses only modules listed before it**; a test reads this file.

#![recursion_limit = "256"]

// words
pub mod types;
pub mod clock;
pub mod kill_points;
pub mod diagnostics;
pub mod yaml;
pub mod literals;

// what a marketer defines: no database, no network, no waiting
pub mod experiments;
pub mod segments;
pub mod templates;
pub mod schedule;
pub mod campaigns;
pub mod policy;

// what is remembered
pub mod store;

// what the engine does
pub mod customers;
pub mod plan;
pub mod tracking;
pub mod providers;
pub mod webhooks;
pub mod dispatch;
pub mod inbound;
pub mod feedback;
pub mod reports;

// edges
pub mod engine;
pub mod catcher;
pub mod server;
pub mod config;
pub mod doctor;
pub mod cli;
