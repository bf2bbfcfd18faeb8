//! One value of a document, read as the type somebody asked for.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde_yaml::Value;

use super::Mismatch;

/// One value. Every reading says what is wrong with it and how to mend it, and never repeats it.
#[derive(Debug, Clone, Copy)]
pub struct Node<'d> {
    value: &'d Value,
    /// What an environment variable held, before it was taken for YAML.
    raw: Option<&'d str>,
}

// === impl Node ===

impl<'d> Node<'d> {
    pub(super) fn new(value: &'d Value, raw: Option<&'d str>) -> Self {
        Self { value, raw }
    }

    /// Whether it is `null`, written out or left empty.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.value.is_null()
    }

    /// A text just as it is, even one of spaces only.
    #[must_use]
    pub fn verbatim(self) -> Option<&'d str> {
        self.raw.or_else(|| self.value.as_str())
    }

    /// A text that is not empty.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn text(self) -> Result<&'d str, Mismatch> {
        let text = match (self.raw, self.value) {
            (Some(raw), _) => raw,
            (None, Value::String(text)) => text,
            (None, Value::Bool(_) | Value::Number(_)) => {
                return Err(Mismatch::new("must be text", "put the value in quotes"));
            }
            (None, Value::Null) => return Err(Mismatch::new("must be given", "write a value after the colon")),
            (None, Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_)) => {
                return Err(Mismatch::new("must be one text, not a list or a group of keys", ""));
            }
        };
        if text.trim().is_empty() { Err(Mismatch::new("must not be empty", "")) } else { Ok(text) }
    }

    /// A text, a number or a truth value, as text.
    ///
    /// # Errors
    ///
    /// When it is a list, a group of keys or nothing.
    pub fn scalar(self) -> Result<String, Mismatch> {
        match (self.raw, self.value) {
            (None, Value::Bool(value)) => Ok(value.to_string()),
            (None, Value::Number(value)) => Ok(value.to_string()),
            (Some(_), _)
            | (None, Value::Null | Value::String(_) | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_)) => {
                self.text().map(str::to_owned)
            }
        }
    }

    /// A text that is parsed further; what its parser says becomes the problem.
    ///
    /// # Errors
    ///
    /// When it is no text, or its parser refuses it.
    pub fn parse<T: FromStr<Err: Display>>(self) -> Result<T, Mismatch> {
        self.text()?.parse().map_err(|error: T::Err| Mismatch::new(error.to_string(), ""))
    }

    /// A truth value.
    ///
    /// # Errors
    ///
    /// When it is none. `yes` and `on` are texts since YAML 1.2.
    pub fn boolean(self) -> Result<bool, Mismatch> {
        let wrong = |hint: &str| Err(Mismatch::new("must be true or false", hint));
        match self.value {
            Value::Bool(value) => Ok(*value),
            Value::String(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "y" => wrong("write `true`: in YAML 1.2 the word given here is only a text"),
                "no" | "off" | "n" => wrong("write `false`: in YAML 1.2 the word given here is only a text"),
                "true" | "false" => wrong("remove the quotes, and write it in small letters"),
                _ => wrong("write `true` or `false`"),
            },
            Value::Null | Value::Number(_) | Value::Sequence(_) | Value::Mapping(_) | Value::Tagged(_) => {
                wrong("write `true` or `false`")
            }
        }
    }

    /// A whole number within bounds.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn number(self, bounds: RangeInclusive<u64>) -> Result<u64, Mismatch> {
        let problem = format!("must be a whole number from {} to {}", bounds.start(), bounds.end());
        match self.value {
            Value::Number(number) => {
                number.as_u64().filter(|number| bounds.contains(number)).ok_or_else(|| Mismatch::new(problem, ""))
            }
            Value::String(text) if text.parse::<u64>().is_ok() => Err(Mismatch::new(problem, "remove the quotes")),
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Sequence(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => Err(Mismatch::new(problem, "")),
        }
    }

    /// One word of a closed vocabulary.
    ///
    /// # Errors
    ///
    /// When it is none of them.
    pub fn one_of<T: Copy>(self, words: &[(&str, T)]) -> Result<T, Mismatch> {
        let given = self.verbatim().map_or_else(|| self.scalar().unwrap_or_default(), str::to_owned);
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == given) {
            return Ok(*value);
        }
        let known = || words.iter().map(|(word, _)| *word);
        let list: Vec<String> = known().map(|word| format!("`{word}`")).collect();
        // `rotates: true` is how YAML 1.1 would have read `yes`.
        let meant = match given.as_str() {
            "true" => known().find(|word| *word == "yes"),
            "false" => known().find(|word| *word == "no"),
            other => super::suggest::nearest(other, known()),
        };
        let hint = meant.map(|word| format!("did you mean `{word}`?")).unwrap_or_default();
        Err(Mismatch::new(format!("must be one of {}", list.join(", ")), hint))
    }

    /// Its keys and values if it is a group of keys that are texts.
    #[must_use]
    pub fn entries(self) -> Option<Vec<(&'d str, Self)>> {
        self.value.as_mapping()?.iter().map(|(key, value)| Some((key.as_str()?, Self::new(value, None)))).collect()
    }

    /// Its items if it is a list, else itself as the only one.
    #[must_use]
    pub fn one_or_many(self) -> Vec<Self> {
        match self.value {
            Value::Sequence(items) => items.iter().map(|item| Self::new(item, None)).collect(),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Mapping(_)
            | Value::Tagged(_) => vec![self],
        }
    }
}
