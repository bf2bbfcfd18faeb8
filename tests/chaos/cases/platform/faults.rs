//! What can be wrong with a platform, and what it means for the user.

use std::time::Duration;

use serde_json::json;

use crate::judge::scripted::Arrival;
use crate::provider::Answer;

/// A platform that is in trouble.
pub(super) struct Fault {
    /// What the platform is called.
    pub(super) name: &'static str,
    pub(super) means: Means,
    /// How it answers; it is told how often the user was asked for before.
    pub(super) answer: fn(&Arrival, usize) -> Option<Answer>,
    /// How long it asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// Whether its `invalid_grant` is sometimes a mistake.
    confirm: bool,
}

/// What a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// To try again later.
    Wait,
    /// Nothing: it gets its token.
    Nothing,
    /// That the user has to connect again.
    Reconnect,
    /// That the operator has something to mend.
    App,
}

pub(super) const FAULTS: &[Fault] = &[
    Fault::of("hangs_up", Means::Wait, |_, _| Some(Answer::raw(""))),
    Fault::of("hangs_up_midway", Means::Wait, |_, _| {
        Some(Answer::raw("HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n{\"acc"))
    }),
    Fault {
        retry_after: Some(Duration::from_secs(3)),
        ..Fault::of("throttles", Means::Wait, |_, _| Some(Answer::text(429, "").header("retry-after", "3")))
    },
    Fault::of("is_broken", Means::Wait, |_, _| Some(Answer::text(500, "<h1>oops</h1>"))),
    Fault::of("is_busy", Means::Wait, |_, _| Some(Answer::json(503, &json!({"error": "invalid_grant"})))),
    Fault::of("lost_its_backend", Means::Wait, |_, _| Some(Answer::text(502, "bad gateway"))),
    Fault::of("is_silent", Means::Wait, |_, _| Some(Answer::silence())),
    // The last byte comes when the vault has given up.
    Fault::of("is_late", Means::Wait, |_, _| {
        Some(Answer::drip("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\r\n", "{    }"))
    }),
    Fault::of("lies_with_200", Means::Wait, |_, _| {
        Some(Answer::json(200, &json!({"error": "temporarily_unavailable"})))
    }),
    Fault::of("shows_a_page", Means::Wait, |_, _| {
        Some(Answer::text(200, "<html>We are down for maintenance</html>").header("content-type", "text/html"))
    }),
    Fault::of("forbids", Means::Wait, |_, _| Some(Answer::text(403, "blocked by a firewall"))),
    Fault {
        confirm: true,
        ..Fault::of("is_mistaken_at_first", Means::Nothing, |_, before| {
            (before == 0).then(|| Answer::json(400, &json!({"error": "invalid_grant"})))
        })
    },
    Fault::of("refuses_with_403", Means::Reconnect, |_, _| Some(Answer::json(403, &json!({"error": "invalid_grant"})))),
    Fault::of("refuses_with_200", Means::Reconnect, |_, _| Some(Answer::json(200, &json!({"error": "invalid_grant"})))),
    Fault::of("refuses_the_client", Means::App, |_, _| Some(Answer::json(401, &json!({"error": "invalid_client"})))),
];

// === impl Fault ===

impl Fault {
    const fn of(name: &'static str, means: Means, answer: fn(&Arrival, usize) -> Option<Answer>) -> Self {
        Self { name, means, answer, retry_after: None, confirm: false }
    }

    /// What the profile says of its refresh tokens.
    pub(super) fn profile(&self) -> String {
        format!("refresh: {{ rotates: yes, confirm: {} }}\n", self.confirm)
    }
}
