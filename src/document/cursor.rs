//! A place in a text that only moves forward and knows its line and column.

use std::str::Chars;

#[derive(Clone)]
pub(super) struct Cursor<'t> {
    chars: Chars<'t>,
    line: usize,
    column: usize,
}

// === impl Cursor ===

impl<'t> Cursor<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { chars: text.chars(), line: 1, column: 0 }
    }

    /// The line, counted from one.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The characters before this place on its line.
    pub(super) fn column(&self) -> usize {
        self.column
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.chars.clone().next()
    }

    /// The character after the next one.
    pub(super) fn peek_second(&self) -> Option<char> {
        self.chars.clone().nth(1)
    }

    pub(super) fn rest(&self) -> &'t str {
        self.chars.as_str()
    }

    pub(super) fn bump(&mut self) -> Option<char> {
        let next = self.chars.next()?;
        if next == '\n' {
            self.line += 1;
            self.column = 0;
        } else {
            self.column += 1;
        }
        Some(next)
    }

    pub(super) fn skip(&mut self, characters: usize) {
        for _ in 0..characters {
            self.bump();
        }
    }

    /// Moves over spaces and tabs.
    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.bump();
        }
    }

    /// Moves to the end of this line, before its break.
    pub(super) fn skip_line(&mut self) {
        while !is_break(self.peek()) {
            self.bump();
        }
    }

    /// Reads a text in quotes, which may go over several lines, and returns what stands between them. Escapes are kept
    /// as they are: the outcome names a key, it is not its value.
    pub(super) fn quoted(&mut self) -> String {
        let mut text = String::new();
        let Some(quote) = self.bump() else { return text };
        while let Some(next) = self.bump() {
            match (quote, next) {
                ('"', '\\') => {
                    text.push(next);
                    text.extend(self.bump());
                }
                ('\'', '\'') if self.peek() == Some('\'') => text.extend(self.bump()),
                (quote, next) if quote == next => break,
                (_, next) => text.push(next),
            }
        }
        text
    }
}

/// Whether a line, or the text, ends here.
pub(super) fn is_break(next: Option<char>) -> bool {
    matches!(next, None | Some('\n' | '\r'))
}

/// Whether a word ends here.
pub(super) fn is_blank(next: Option<char>) -> bool {
    is_break(next) || matches!(next, Some(' ' | '\t'))
}
