//! What a platform's own errors mean.

use serde_json::Value;

use super::Path;
use crate::domain::cause::Cause;

/// "An answer like this means that."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorRule {
    /// The HTTP status, where it matters.
    pub status: Option<u16>,
    /// What the body must say, where it matters.
    pub body: Option<BodyTest>,
    /// What it means.
    pub means: Means,
    /// The cause to report, where the answer tells it.
    pub cause: Option<Cause>,
}

/// A test of one place in a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyTest {
    /// Where to look.
    pub path: Path,
    /// The values that match exactly; empty: any value.
    pub equals: Vec<String>,
    /// A text the value must contain.
    pub contains: Option<String>,
}

/// What an error means for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    /// The user has to connect again.
    Reconnect,
    /// Try again later with the same token.
    Retry,
    /// This installation's client is misconfigured.
    App,
}

// === impl ErrorRule ===

impl ErrorRule {
    /// Whether an answer falls under this rule.
    #[must_use]
    pub fn matches(&self, status: u16, body: &Value) -> bool {
        self.status.is_none_or(|wanted| wanted == status) && self.body.as_ref().is_none_or(|test| test.matches(body))
    }
}

// === impl BodyTest ===

impl BodyTest {
    fn matches(&self, body: &Value) -> bool {
        let Some(found) = self.path.iter().try_fold(body, |value, key| value.get(key)) else {
            return false;
        };
        let text = match found {
            Value::String(text) => text.clone(),
            Value::Bool(_) | Value::Number(_) => found.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => return false,
        };
        (self.equals.is_empty() || self.equals.contains(&text))
            && self.contains.as_ref().is_none_or(|part| text.contains(part.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(status: Option<u16>, equals: &[&str], contains: Option<&str>) -> ErrorRule {
        ErrorRule {
            status,
            body: Some(BodyTest {
                path: vec!["error".into()],
                equals: equals.iter().map(ToString::to_string).collect(),
                contains: contains.map(Into::into),
            }),
            means: Means::Reconnect,
            cause: None,
        }
    }

    #[test]
    fn every_condition_of_a_rule_must_hold() {
        let body = json!({ "ok": false, "error": "invalid_refresh_token" });
        assert!(rule(Some(200), &["invalid_refresh_token"], None).matches(200, &body));
        assert!(rule(None, &[], Some("refresh")).matches(418, &body));
        assert!(!rule(Some(400), &["invalid_refresh_token"], None).matches(200, &body));
        assert!(!rule(None, &["other"], None).matches(200, &body));
        assert!(!rule(None, &[], None).matches(200, &json!({ "error": { "code": 1 } })));
        assert!(!rule(None, &[], None).matches(200, &Value::Null));
    }
}
