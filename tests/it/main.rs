//! Stories at the level of the user, one file a stage; store stories run on SQLite and on PostgreSQL.

mod customers;
mod answer;
mod brakes;
mod databases;
mod define;
mod deliver;
mod import;
mod dkim;
mod mime;
mod newcomer;
mod order;
mod report;
mod respond;
mod serve;
mod render;
mod schedules;
mod select;
mod simulate;
mod tls;
mod ledger;
mod plan;
mod world;
mod hillstrom;
mod kill;
mod processes;
mod shop;
