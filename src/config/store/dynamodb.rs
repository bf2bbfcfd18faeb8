//! A table of Amazon DynamoDB to keep records in.

use std::time::Duration;

use super::Kind;
use crate::config::{Context, kms};
use crate::document::{Mismatch, Node, Section};

/// A table of Amazon DynamoDB. Credentials come from where AWS puts them.
#[derive(Debug, Clone)]
pub struct DynamoConfig {
    /// The name of the table.
    pub table: String,
    /// The region; `None`: as the environment says.
    pub region: Option<String>,
    /// Another endpoint, such as a VPC endpoint.
    pub endpoint: Option<String>,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long one request may take, once there is a connection.
    pub command_timeout: Duration,
}

pub(super) fn read(section: &mut Section<'_>, context: &Context<'_>, kind: Kind) -> Option<DynamoConfig> {
    let table = if matches!(kind, Kind::Dynamodb) {
        section.required("table", table)
    } else {
        section.optional("table", table)
    };
    let region = section.optional("region", Node::text).map(str::to_owned);
    let endpoint = section.optional("endpoint", |node| kms::endpoint(node, context));
    let (connect_timeout, command_timeout) = section.section("timeouts", timeouts).unwrap_or(TIMEOUTS);
    Some(DynamoConfig { table: table?, region, endpoint, connect_timeout, command_timeout })
}

const TIMEOUTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1));

fn timeouts(section: &mut Section<'_>) -> (Duration, Duration) {
    let mut millis = |key: &str, default: Duration| {
        let given = section.optional(key, |node| node.number(10..=20_000));
        given.map_or(default, Duration::from_millis)
    };
    (millis("connect_ms", TIMEOUTS.0), millis("command_ms", TIMEOUTS.1))
}

fn table(node: Node<'_>) -> Result<String, Mismatch> {
    let text = node.text()?;
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (3..=255).contains(&text.len()) && text.bytes().all(in_name) {
        return Ok(text.to_owned());
    }
    Err(Mismatch::new("must be the name of a table: 3 to 255 of A-Z a-z 0-9 . _ -", "write `vault-engine`"))
}
