//! Lines `Name: value` as they stand in headers, delivery reports, feedback reports and copies of headers inside a text.

/// Fields in their order; names in lower case, values on one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String)>);

/// Fields read from one block, at most; a longer one is cut.
const MOST: usize = 400;
/// Characters kept of a value.
const LONGEST: usize = 4_000;

impl Fields {
    /// Reads the first block: up to an empty line. Lines that are no fields are passed over.
    pub fn read(text: &str) -> Fields {
        let mut fields = Fields::default();
        for line in text.lines().skip_while(|line| line.trim().is_empty()).take_while(|line| !line.trim().is_empty()) {
            fields.line(line);
        }
        fields
    }

    /// Reads all blocks, which empty lines part.
    pub fn blocks(text: &str) -> Vec<Fields> {
        let mut blocks = vec![Fields::default()];
        for line in text.lines() {
            if !line.trim().is_empty() {
                // Some systems forget the empty line before the next recipient.
                let next = field(line).is_some_and(|(name, _)| name.eq_ignore_ascii_case("final-recipient"));
                if next && blocks.last().is_some_and(|block| block.has("final-recipient")) && blocks.len() < MOST {
                    blocks.push(Fields::default());
                }
                if let Some(block) = blocks.last_mut() {
                    block.line(line);
                }
            } else if blocks.last().is_some_and(|block| !block.0.is_empty()) && blocks.len() < MOST {
                blocks.push(Fields::default());
            }
        }
        blocks.retain(|block| !block.0.is_empty());
        blocks
    }

    fn line(&mut self, line: &str) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = self.0.last_mut()
                && value.len() < LONGEST
            {
                value.push(' ');
                value.extend(line.trim().chars().take(LONGEST));
            }
        } else if let Some((name, value)) = field(line)
            && self.0.len() < MOST
        {
            self.0.push((name.to_ascii_lowercase(), value.trim().chars().take(LONGEST).collect()));
        }
    }

    pub fn push(&mut self, name: &str, value: &str) {
        if self.0.len() < MOST {
            let value: Vec<&str> = value.split_whitespace().collect();
            self.0.push((name.to_ascii_lowercase(), value.join(" ").chars().take(LONGEST).collect()));
        }
    }

    /// The first value of this name (lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many of `names` occur.
    pub fn count(&self, names: &[&str]) -> usize {
        names.iter().filter(|name| self.has(name)).count()
    }
}

/// Name and value of a line that is a field.
pub fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let name = name.trim_end();
    let is_name =
        !name.is_empty() && name.len() <= 60 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    is_name.then_some((name, value))
}
