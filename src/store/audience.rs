//! Conditions → SQL. This is a placeholder with the agreed shape, until the compiler of conditions lands: it knows `everyone` and nobody else.

use super::Dialect;
pub use super::sql::{Bind, Sql};
use crate::segments::{Condition, Moment};

/// Adds a total condition over the alias `c`.
pub fn compile(condition: &Condition, _: &Moment<'_>, _: Dialect, sql: &mut Sql) {
    let is_everyone = match condition {
        Condition::All(parts) => parts.iter().all(|part| matches!(part, Condition::All(parts) if parts.is_empty())),
        _ => false,
    };
    sql.push(if is_everyone { "1 = 1" } else { "1 = 0" });
}
