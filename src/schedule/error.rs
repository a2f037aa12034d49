use std::ops::Range;

/// Why an expression cannot be read, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {help}")]
pub struct Error {
    /// Bytes of the expression that are at fault.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Error {
    pub(super) fn new(range: Range<usize>, message: impl Into<String>, help: impl Into<String>) -> Self {
        Error { range, message: message.into(), help: help.into() }
    }
}

/// A word of an expression, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub text: &'a str,
    pub start: usize,
}

impl<'a> Token<'a> {
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// The words between blanks.
    pub fn all(text: &'a str) -> Vec<Token<'a>> {
        let start_of = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        text.split_whitespace().map(|word| Token { text: word, start: start_of(word) }).collect()
    }

    /// The parts between these characters; empty ones are kept.
    pub fn split(self, separator: char) -> impl Iterator<Item = Token<'a>> {
        let mut start = self.start;
        self.text.split(separator).map(move |part| {
            let token = Token { text: part, start };
            start += part.len() + separator.len_utf8();
            token
        })
    }
}
