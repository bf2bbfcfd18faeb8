//! Where the fields of a YAML text stand, and what in it must not reach the parser: anchors and aliases, tags,
//! directives, keys given twice, nesting without end, characters that hide something. Values are the parser's business.
//!
//! It understands block and flow style, quotes and block scalars as far as finding keys needs it. Where it understands
//! less than the parser a fault loses its line, not more; what it must refuse it recognises by its first character, which
//! no plain text may begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use super::Fault;
use super::cursor::{Cursor, is_blank, is_break};

/// Where each field stands.
#[derive(Debug, Default)]
pub(super) struct Outline {
    lines: BTreeMap<String, usize>,
}

/// A list or group of keys in block style that is still open.
struct Level {
    column: usize,
    path: String,
    kind: Kind,
    /// The field whose value may follow.
    slot: String,
}

/// A list or group of keys in flow style that is still open.
struct Bracket {
    path: String,
    kind: Kind,
    slot: String,
    /// In a mapping: a key was read, its value comes next.
    after_key: bool,
}

enum Kind {
    Mapping { keys: BTreeSet<String> },
    Sequence { items: usize },
}

struct Scanner<'t> {
    cursor: Cursor<'t>,
    max_depth: usize,
    outline: Outline,
    levels: Vec<Level>,
    /// Lines indented deeper than this belong to the text of a value.
    text_below: Option<usize>,
    faults: Vec<Fault>,
}

/// What the scanner met ends the scan.
struct Stop;

// === impl Outline ===

impl Outline {
    /// Walks a text.
    pub(super) fn of(text: &str, max_depth: usize) -> Result<Self, Vec<Fault>> {
        if let Some(fault) = hidden_character(text) {
            return Err(vec![fault]);
        }
        let mut scanner = Scanner {
            cursor: Cursor::new(text),
            max_depth,
            outline: Self::default(),
            levels: Vec::new(),
            text_below: None,
            faults: Vec::new(),
        };
        // After a stop the rest of the text would only be guessed at.
        while !scanner.cursor.rest().is_empty() && scanner.line().is_ok() {}
        if scanner.faults.is_empty() { Ok(scanner.outline) } else { Err(scanner.faults) }
    }

    /// The line of a field, or of the nearest section around it.
    pub(super) fn line_of(&self, path: &str) -> Option<usize> {
        ancestors(path).find_map(|path| self.lines.get(path).copied())
    }

    /// Whether the text itself has something at `path`.
    pub(super) fn has(&self, path: &str) -> bool {
        self.lines.contains_key(path)
    }
}

/// The path of a key of the section at `parent`.
pub(super) fn join(parent: &str, key: &str) -> String {
    // A key comes from outside and may be a whole page.
    let key: String = key.chars().take(64).collect();
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// The path of an item of the list at `parent`.
pub(super) fn item(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// A path and everything it lies in, the nearest first.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        let end = path.rfind(['.', '['])?;
        path.get(..end)
    })
}

// === impl Scanner ===

impl Scanner<'_> {
    /// One line in block style, and with it whatever flow collection or quoted text begins on it.
    fn line(&mut self) -> Result<(), Stop> {
        while self.cursor.peek() == Some(' ') {
            self.cursor.bump();
        }
        let column = self.cursor.column();
        let inside_text = self.text_below.is_some_and(|below| column > below);
        match self.cursor.peek() {
            None | Some('\r' | '\n' | '#') => {}
            Some(_) if inside_text => {}
            Some('\t') => return self.refuse("is indented with a tab", "indent with spaces"),
            Some('%') if column == 0 => return self.refuse("begins with a directive", "remove the line"),
            Some(_) => {
                self.text_below = None;
                if column == 0 && (self.marker("---") || self.marker("...")) {
                    self.cursor.skip_blanks();
                }
                self.tokens()?;
            }
        }
        self.cursor.skip_line();
        while matches!(self.cursor.peek(), Some('\r' | '\n')) {
            self.cursor.bump();
        }
        Ok(())
    }

    fn marker(&mut self, marker: &str) -> bool {
        let found = self.cursor.rest().strip_prefix(marker).is_some_and(|rest| is_blank(rest.chars().next()));
        if found {
            self.cursor.skip(marker.len());
        }
        found
    }

    /// `- ` and `key: ` in front of a value, as many as there are, and then the value.
    fn tokens(&mut self) -> Result<(), Stop> {
        loop {
            let column = self.cursor.column();
            let next = self.cursor.peek();
            if next == Some('-') && is_blank(self.cursor.peek_second()) {
                self.begin_item(column)?;
                self.cursor.bump();
                self.cursor.skip_blanks();
                if is_break(self.cursor.peek()) {
                    return Ok(());
                }
            } else if next == Some('?') && is_blank(self.cursor.peek_second()) {
                return self.refuse("has a key marked with `?`", "write `key: value`");
            } else if let Some(key) = self.key() {
                self.begin_key(column, &key)?;
                self.cursor.skip_blanks();
                return self.value();
            } else {
                return self.value();
            }
        }
    }

    /// A key and its colon, if they are next.
    fn key(&mut self) -> Option<String> {
        let line = self.cursor.line();
        let mut ahead = self.cursor.clone();
        let key = match ahead.peek()? {
            '"' | '\'' => {
                let key = ahead.quoted();
                ahead.skip_blanks();
                (ahead.line() == line && ahead.peek() == Some(':')).then_some(key)?
            }
            '[' | '{' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' | '#' => return None,
            _ => {
                let mut key = String::new();
                while !(ahead.peek() == Some(':') && is_blank(ahead.peek_second())) {
                    let next = ahead.peek().filter(|next| !is_break(Some(*next)))?;
                    if next == '#' && key.ends_with([' ', '\t']) {
                        return None;
                    }
                    key.push(next);
                    ahead.bump();
                }
                key.trim_end().to_owned()
            }
        };
        ahead.bump();
        self.cursor = ahead;
        Some(key)
    }

    fn begin_item(&mut self, column: usize) -> Result<(), Stop> {
        while self.levels.last().is_some_and(|level| level.column > column) {
            self.levels.pop();
        }
        let open = self
            .levels
            .last()
            .is_some_and(|level| level.column == column && matches!(level.kind, Kind::Sequence { .. }));
        if !open {
            self.push(column, Kind::Sequence { items: 0 })?;
        }
        let line = self.cursor.line();
        if let Some(Level { path, kind: Kind::Sequence { items }, slot, .. }) = self.levels.last_mut() {
            *slot = item(path, *items);
            *items += 1;
            self.outline.lines.insert(slot.clone(), line);
        }
        Ok(())
    }

    fn begin_key(&mut self, column: usize, key: &str) -> Result<(), Stop> {
        let closed = |level: &Level| match level.kind {
            Kind::Mapping { .. } => level.column > column,
            Kind::Sequence { .. } => level.column >= column,
        };
        while self.levels.last().is_some_and(closed) {
            self.levels.pop();
        }
        if self.levels.last().is_none_or(|level| level.column < column) {
            self.push(column, Kind::Mapping { keys: BTreeSet::new() })?;
        }
        let line = self.cursor.line();
        if let Some(Level { path, kind: Kind::Mapping { keys }, slot, .. }) = self.levels.last_mut() {
            *slot = join(path, key);
            let again = !keys.insert(key.to_owned());
            let slot = slot.clone();
            self.found_key(slot, line, again);
        }
        Ok(())
    }

    fn push(&mut self, column: usize, kind: Kind) -> Result<(), Stop> {
        if self.levels.len() >= self.max_depth {
            return self.too_deep();
        }
        let path = self.levels.last().map(|level| level.slot.clone()).unwrap_or_default();
        self.levels.push(Level { column, slot: path.clone(), path, kind });
        Ok(())
    }

    fn found_key(&mut self, path: String, line: usize, again: bool) {
        if again {
            let first = self.outline.lines.get(&path).copied().unwrap_or_default();
            let fault = Fault::of_field(path, "is given twice", format!("the first one is on line {first}; keep one"));
            self.faults.push(Fault { line: Some(line), ..fault });
        } else {
            self.outline.lines.insert(path, line);
        }
    }

    /// A value, up to the end of its line or of whatever it opens.
    fn value(&mut self) -> Result<(), Stop> {
        let column = self.levels.last().map_or(0, |level| level.column);
        match self.cursor.peek() {
            None | Some('\r' | '\n' | '#') => {}
            Some('&' | '*') => return self.refuse_anchor(),
            Some('!') => return self.refuse_tag(),
            Some('[' | '{') => {
                self.flow()?;
                self.nothing_more()?;
            }
            Some('"' | '\'') => {
                self.cursor.quoted();
                self.nothing_more()?;
            }
            // A block scalar, or a plain text that may go on below.
            Some(_) => self.text_below = Some(column),
        }
        Ok(())
    }

    /// After a bracket or quote only a comment may follow: else what looked like a value was a key.
    fn nothing_more(&mut self) -> Result<(), Stop> {
        self.cursor.skip_blanks();
        match self.cursor.peek() {
            None | Some('\r' | '\n' | '#') => Ok(()),
            Some(_) => self.refuse("goes on after its closing bracket or quote", "put the rest on a line of its own"),
        }
    }

    /// A collection in flow style, to its closing bracket.
    fn flow(&mut self) -> Result<(), Stop> {
        let mut open: Vec<Bracket> = Vec::new();
        let outer = self.levels.last().map(|level| level.slot.clone()).unwrap_or_default();
        while let Some(next) = self.cursor.peek() {
            match next {
                ' ' | '\t' | '\r' | '\n' => self.cursor.skip(1),
                '#' => self.cursor.skip_line(),
                '&' | '*' => return self.refuse_anchor(),
                '!' => return self.refuse_tag(),
                '?' if is_blank(self.cursor.peek_second()) => {
                    return self.refuse("has a key marked with `?`", "write `key: value`");
                }
                '[' | '{' => {
                    if let Some(bracket) = open.last_mut() {
                        self.bracket_item(bracket);
                    }
                    if self.levels.len() + open.len() >= self.max_depth {
                        return self.too_deep();
                    }
                    let path = open.last().map_or_else(|| outer.clone(), |bracket| bracket.slot.clone());
                    let kind =
                        if next == '[' { Kind::Sequence { items: 0 } } else { Kind::Mapping { keys: BTreeSet::new() } };
                    open.push(Bracket { slot: path.clone(), path, kind, after_key: false });
                    self.cursor.bump();
                }
                ']' | '}' => {
                    self.cursor.bump();
                    open.pop();
                    if open.is_empty() {
                        return Ok(());
                    }
                }
                ',' | ':' => {
                    if let (',', Some(bracket)) = (next, open.last_mut()) {
                        bracket.after_key = false;
                    }
                    self.cursor.bump();
                }
                _ => self.flow_scalar(open.last_mut()),
            }
        }
        Ok(())
    }

    /// A text in a flow collection: a key, an item or a value.
    fn flow_scalar(&mut self, bracket: Option<&mut Bracket>) {
        let line = self.cursor.line();
        let text = match self.cursor.peek() {
            Some('"' | '\'') => self.cursor.quoted(),
            Some(_) | None => self.flow_plain(),
        };
        match bracket {
            Some(Bracket { path, kind: Kind::Mapping { keys }, slot, after_key }) if !*after_key => {
                *after_key = true;
                *slot = join(path, &text);
                let again = !keys.insert(text);
                let slot = slot.clone();
                self.found_key(slot, line, again);
            }
            Some(bracket) => self.bracket_item(bracket),
            None => {}
        }
    }

    /// A text without quotes. It goes on over blanks and lines until a sign or a comment ends it.
    fn flow_plain(&mut self) -> String {
        let mut text = String::new();
        text.extend(self.cursor.bump());
        loop {
            let (next, second) = (self.cursor.peek(), self.cursor.peek_second());
            let ends = match next {
                None | Some(',' | '[' | ']' | '{' | '}') => true,
                Some(':') => is_blank(second) || matches!(second, Some(',' | '[' | ']' | '{' | '}')),
                Some('#') => text.ends_with([' ', '\t', '\r', '\n']),
                Some(_) => false,
            };
            if ends {
                return text.trim_end().to_owned();
            }
            text.extend(self.cursor.bump());
        }
    }

    /// Notes the next item, if the bracket is a list.
    fn bracket_item(&mut self, bracket: &mut Bracket) {
        if let Bracket { path, kind: Kind::Sequence { items }, slot, .. } = bracket {
            *slot = item(path, *items);
            *items += 1;
            self.outline.lines.insert(slot.clone(), self.cursor.line());
        }
    }

    fn refuse_anchor(&mut self) -> Result<(), Stop> {
        self.refuse("uses an anchor or alias", "write the value out; put a text that begins with `&` or `*` in quotes")
    }

    fn refuse_tag(&mut self) -> Result<(), Stop> {
        self.refuse("uses a tag", "remove the word with `!`; put a text that begins with `!` in quotes")
    }

    fn too_deep(&mut self) -> Result<(), Stop> {
        self.refuse("is nested too deeply", "flatten it")
    }

    fn refuse(&mut self, problem: &str, hint: &str) -> Result<(), Stop> {
        let field = self.levels.last().map(|level| level.slot.clone()).unwrap_or_default();
        self.faults.push(Fault { line: Some(self.cursor.line()), ..Fault::of_field(field, problem, hint) });
        Err(Stop)
    }
}

/// Zero-width characters and marks of direction, the line breaks only some programs know, the byte order mark.
const HIDDEN: [RangeInclusive<char>; 4] =
    ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}', '\u{feff}'..='\u{feff}'];

/// A character that ends a line for the parser and not for the eye, or turns text around: the two must see one text.
fn hidden_character(text: &str) -> Option<Fault> {
    let mut line = 1;
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        let hidden = match next {
            '\n' => {
                line += 1;
                false
            }
            '\t' => false,
            '\r' => rest.peek() != Some(&'\n'),
            other => other.is_control() || HIDDEN.iter().any(|hidden| hidden.contains(&other)),
        };
        if hidden {
            let problem = format!("has a hidden character, U+{:04X}", u32::from(next));
            return Some(Fault { line: Some(line), ..Fault::of_field("", problem, "remove it") });
        }
    }
    None
}
