//! CSV that may be opened with a spreadsheet: no cell is taken for a formula.

use crate::customers::sheets::guarded;
use std::io::Write;

/// Writes rows of cells.
pub struct Sheet<W: Write>(csv::Writer<W>);

impl<W: Write> Sheet<W> {
    /// With these columns.
    pub fn new<C: AsRef<str>>(file: W, columns: impl IntoIterator<Item = C>) -> csv::Result<Self> {
        // Rows of other lengths are what some callers have to tell of.
        let mut sheet = Sheet(csv::WriterBuilder::new().flexible(true).from_writer(file));
        sheet.row(columns)?;
        Ok(sheet)
    }

    pub fn row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) -> csv::Result<()> {
        for cell in cells {
            self.0.write_field(guarded(cell.as_ref()).as_bytes())?;
        }
        self.0.write_record(None::<&[u8]>)
    }

    pub fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}
