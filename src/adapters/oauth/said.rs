//! Reads an answer's body into one JSON value, whatever form it came in, and wipes it when it is done with. What the
//! value means is `answer`'s part.
//!
//! Not wiped: the scratch memory of the JSON parser, and the names of an object's fields.

use serde_json::{Map, Value};
use url::form_urlencoded;
use zeroize::{Zeroize as _, Zeroizing};

use crate::domain::profile::Path;

/// What a body says.
pub(super) struct Said(Value);

/// Objects and arrays in each other, at most. Well inside the parser's own bound of 128, past which it gives up instead
/// of using up the stack.
const MAX_DEPTH: usize = 32;

// === impl Said ===

impl Said {
    /// Reads a body as JSON, else as a form with a token or an error in it; `None` when it is neither.
    ///
    /// The content type is not asked: platforms label JSON `text/html` and forms `text/plain`. Of two fields with one
    /// name the last counts, as with every common parser; it is read here once and written anew, so that no second
    /// parser can see it otherwise. Bytes that are not UTF-8 become U+FFFD: an error description in Latin-1 must not
    /// hide the error code beside it.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let text = Zeroizing::new(String::from_utf8_lossy(body).into_owned());
        let text = text.trim_start_matches('\u{feff}');
        let said = serde_json::from_str(text).map_or_else(|_| form(text), |value| Some(Self(value)))?;
        (depth(&said.0) <= MAX_DEPTH).then_some(said)
    }

    /// The whole of it.
    pub(super) const fn value(&self) -> &Value {
        &self.0
    }

    /// The first value on these paths that is there and not null.
    pub(super) fn first(&self, paths: &[Path]) -> Option<&Value> {
        let at = |path: &Path| path.iter().try_fold(&self.0, |value, key| value.get(key));
        paths.iter().filter_map(at).find(|value| !value.is_null())
    }

    /// The first text on these paths that is not empty.
    pub(super) fn text(&self, paths: &[Path]) -> Option<&str> {
        let at = |path: &Path| path.iter().try_fold(&self.0, |value, key| value.get(key)).and_then(Value::as_str);
        paths.iter().filter_map(at).find(|text| !text.is_empty())
    }

    /// Gives the value to somebody else, who then has to take care of it.
    pub(super) fn into_value(mut self) -> Value {
        self.0.take()
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
    }
}

/// A form counts only if it holds something of ours: almost any text parses as one.
fn form(text: &str) -> Option<Said> {
    let fields: Map<String, Value> = form_urlencoded::parse(text.trim().as_bytes())
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    let ours = fields.contains_key("access_token") || fields.contains_key("error");
    let said = Said(Value::Object(fields));
    ours.then_some(said)
}

/// How deep objects and arrays are nested. The parser bounds this recursion at 128.
fn depth(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(body: &[u8]) -> Option<Value> {
        Said::read(body).map(Said::into_value)
    }

    #[test]
    fn json_and_forms_are_read_and_nothing_else() {
        assert_eq!(read(br#"{"access_token":"a"}"#), Some(json!({ "access_token": "a" })));
        assert_eq!(read(b"\xef\xbb\xbf {\"a\":1}\r\n"), Some(json!({ "a": 1 })));
        assert_eq!(read(b"access_token=a%2Bb&scope=x+y\n"), Some(json!({ "access_token": "a+b", "scope": "x y" })));
        assert_eq!(read(b"error=bad_refresh_token"), Some(json!({ "error": "bad_refresh_token" })));
        for other in [&b""[..], b"<html>a=b&c=d</html>", b"a=b", b"{\"access_token\":", b"{} {}", b"\x1f\x8b\x08\x00"] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_error_code_survives_a_description_in_another_encoding() {
        let body = read(b"{\"error\":\"invalid_grant\",\"error_description\":\"r\xe9voqu\xe9\"}").unwrap();
        assert_eq!(body.get("error"), Some(&json!("invalid_grant")));
    }

    #[test]
    fn of_two_fields_with_one_name_the_last_counts() {
        assert_eq!(read(br#"{"a":1,"a":2}"#), Some(json!({ "a": 2 })));
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(nested(32).as_bytes()).is_some());
        for levels in [33, 127, 128, 129, 30_000] {
            assert_eq!(read(nested(levels).as_bytes()), None, "{levels} levels");
            assert_eq!(read(r#"{"a":"#.repeat(levels).as_bytes()), None, "{levels} levels");
        }
    }

    #[test]
    fn the_first_path_that_leads_somewhere_counts() {
        let said = Said::read(br#"{"a":null,"b":{"c":"","d":"x"},"e":7}"#).unwrap();
        let path = |text: &str| text.split('.').map(str::to_owned).collect::<Path>();
        assert_eq!(said.first(&[path("a"), path("z"), path("e")]), Some(&json!(7)));
        assert_eq!(said.text(&[path("e"), path("b.c"), path("b.d")]), Some("x"));
        assert_eq!(said.first(&[path("b.d.x")]), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            drop(read(&body));
        }

        #[test]
        fn no_text_makes_the_reader_panic(body in "[\\[\\]{}\",:0-9a-z&=%.\\-+eE\\\\u ]{0,400}") {
            drop(read(body.as_bytes()));
        }
    }
}
