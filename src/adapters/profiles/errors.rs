//! The error rules of a profile, read from its document. What they are applied to lives with the refresh.

use super::read::path;
use crate::document::{Mismatch, Node, Section};
use crate::domain::cause::Cause;
use crate::domain::profile::{BodyTest, ErrorRule, Means};

/// One entry of `errors`. It becomes one rule per status it names.
pub(super) fn rules(section: &mut Section<'_>) -> Option<Vec<ErrorRule>> {
    let statuses = section.optional("status", statuses);
    let path = section.optional("path", path);
    let equals = section.optional("equals", |node| node.one_or_many().into_iter().map(Node::scalar).collect());
    let contains = section.optional("contains", Node::text).map(str::to_owned);
    let means = [("reconnect", Means::Reconnect), ("retry", Means::Retry), ("app", Means::App)];
    let means = section.required("means", |node| node.one_of(&means));
    let cause = section.optional("cause", cause);

    if statuses.is_none() && path.is_none() {
        section.fault("", "would match every error", "say which with `status`, or `path` and `equals`");
    }
    if path.is_none() && (equals.is_some() || contains.is_some()) {
        section.fault("path", "must say where to look", "write the key of the answer, such as `error`");
    }
    let transient = statuses.iter().flatten().any(|status| is_transient(*status));
    if transient && means.is_some_and(|means| means != Means::Retry) {
        let hint = "what is transient is always tried again; remove the status";
        section.fault("status", "408, 425, 429 and 5xx can mean nothing but `retry`", hint);
    }
    let body = path.map(|path| BodyTest { path, equals: equals.unwrap_or_default(), contains });
    let rule = ErrorRule { status: None, body, means: means?, cause };
    Some(match statuses {
        None => vec![rule],
        Some(statuses) => {
            statuses.into_iter().map(|status| ErrorRule { status: Some(status), ..rule.clone() }).collect()
        }
    })
}

/// Answers of a platform that has a problem of its own, or asks to slow down.
fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

fn statuses(node: Node<'_>) -> Result<Vec<u16>, Mismatch> {
    let status = |node: Node<'_>| node.number(200..=599).map(|status| u16::try_from(status).unwrap_or_default());
    node.one_or_many().into_iter().map(status).collect()
}

fn cause(node: Node<'_>) -> Result<Cause, Mismatch> {
    Cause::from_word(node.text()?).ok_or_else(|| {
        let hint = "such as user_revoked, idle_expiry, absolute_expiry, password_changed, session_control";
        Mismatch::new("is not a cause the vault knows", hint)
    })
}
