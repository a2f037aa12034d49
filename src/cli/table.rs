//! Listings: the same rows as a table for people, JSON for programs, CSV for sheets.

use super::Format;
use super::sheet::Sheet;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

/// Prints rows (JSON objects) with these columns to stdout; columns that a row lacks are empty.
pub fn print(format: Format, columns: &[&str], rows: &[Value]) -> anyhow::Result<()> {
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(rows)?),
        Format::Csv => {
            let mut sheet = Sheet::new(std::io::stdout().lock(), columns)?;
            for row in rows {
                sheet.row(columns.iter().map(|column| cell(row, column)))?;
            }
            sheet.flush()?;
        }
        Format::Table | Format::Html => {
            let mut table = Table::new();
            table
                .load_style(comfy_table::presets::NOTHING)
                .set_content_arrangement(ContentArrangement::Disabled)
                .set_header(columns.to_vec());
            for row in rows {
                table.add_row(columns.iter().map(|column| cell(row, column)));
            }
            println!("{table}");
        }
    }
    Ok(())
}

fn cell(row: &Value, column: &str) -> String {
    match row.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
