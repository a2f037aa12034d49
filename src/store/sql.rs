//! A piece of SQL with its bound values, put together from parts.

use super::Dialect;

/// A bound value.
#[derive(Debug, Clone, PartialEq)]
pub enum Bind {
    Text(String),
    Integer(i64),
    Float(f64),
}

/// Text with `$1`, `$2` … in the order of `binds`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sql {
    pub dialect: Dialect,
    pub text: String,
    pub binds: Vec<Bind>,
}

impl Sql {
    pub fn new(dialect: Dialect) -> Self {
        Sql { dialect, text: String::new(), binds: Vec::new() }
    }

    /// Adds text of ours; never a value from outside.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds a value as the next `$n`.
    pub fn bind(&mut self, value: Bind) {
        self.binds.push(value);
        self.text.push('$');
        self.text.push_str(&self.binds.len().to_string());
    }

    /// Keeps a value and gives its `$n`, for text that is put together elsewhere; equal values share one.
    pub fn hold(&mut self, value: Bind) -> String {
        let known = self.binds.iter().position(|known| *known == value && !matches!(value, Bind::Float(_)));
        let place = known.unwrap_or_else(|| {
            self.binds.push(value);
            self.binds.len() - 1
        });
        format!("${}", place + 1)
    }

    /// Adds another piece; its `$n` are counted on from here.
    pub fn append(&mut self, other: &Sql) {
        let before = self.binds.len();
        let mut rest = other.text.as_str();
        while let Some(at) = rest.find('$') {
            let digits = rest[at + 1..].bytes().take_while(u8::is_ascii_digit).count();
            self.text.push_str(&rest[..=at]);
            match rest[at + 1..at + 1 + digits].parse::<usize>() {
                Ok(number) => self.text.push_str(&(number + before).to_string()),
                Err(_) => self.text.push_str(&rest[at + 1..at + 1 + digits]),
            }
            rest = &rest[at + 1 + digits..];
        }
        self.text.push_str(rest);
        self.binds.extend(other.binds.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_piece_counts_its_values_on() {
        let mut inner = Sql::new(Dialect::Sqlite);
        inner.push("a = ");
        inner.bind(Bind::Integer(1));
        inner.push(" OR b = ");
        inner.bind(Bind::Text("x".into()));
        let mut outer = Sql::new(Dialect::Sqlite);
        outer.bind(Bind::Float(0.5));
        outer.push(" AND ");
        outer.append(&inner);
        assert_eq!(outer.text, "$1 AND a = $2 OR b = $3");
        assert_eq!(outer.binds.len(), 3);
    }
}
