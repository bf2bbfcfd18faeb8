//! Which environment variables are configuration, and which field each one sets.

use std::collections::BTreeMap;

use crate::document::{Document, Fault};

const PREFIX: &str = "VAULT_ENGINE_";

/// Variables of the command line: they are no configuration of the server.
const COMMAND_LINE: [&str; 9] =
    ["SERVER", "ENGINE_ID", "KEY", "KEY_FILE", "TLS_CA", "TLS_CERT", "TLS_KEY", "CONFIG", "LOG"];

/// Free names for secrets that `{ env: NAME }` refers to.
const SECRETS: &str = "SECRET_";

/// Lays the variables over a document, in the order of their names, so that the deeper one wins.
pub(super) fn lay_over(document: &mut Document, variables: &BTreeMap<String, String>) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    for (variable, value) in variables {
        let Some(name) = variable.strip_prefix(PREFIX) else { continue };
        let foreign = COMMAND_LINE.contains(&name) || name.starts_with(SECRETS) || is_service_link(name, value);
        if foreign || value.is_empty() {
            continue;
        }
        let lower = name.to_ascii_lowercase();
        let path: Vec<&str> = lower.split("__").collect();
        if path.iter().any(|key| key.is_empty()) || path.len() > 8 {
            let hint = "write `VAULT_ENGINE_STORE__REDIS__URL` for `store.redis.url`";
            let fault = Fault::of_field("", "is not the name of a field", hint);
            faults.push(Fault { variable: Some(variable.clone()), ..fault });
        } else {
            document.set(&path, variable, value);
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Whether Kubernetes made this variable: it announces a service called `vault-engine`, or `vault-engine-redis`, to every
/// process beside it under names that look like ours.
fn is_service_link(name: &str, value: &str) -> bool {
    if name.contains("__") {
        return false;
    }
    let announces_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let after = |mark: &str| {
        let begins = name.strip_prefix(mark.trim_start_matches('_'));
        begins.or_else(|| name.split_once(mark).map(|(_, rest)| rest))
    };
    let numbered = after("_PORT_").is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let service = after("_SERVICE_").is_some_and(|rest| rest == "HOST" || rest.starts_with("PORT"));
    service || numbered || ((name == "PORT" || name.ends_with("_PORT")) && announces_address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_announces_is_not_configuration() {
        for (name, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "50051"),
            ("SERVICE_PORT_GRPC", "50051"),
            ("PORT", "tcp://10.0.0.1:50051"),
            ("PORT_50051_TCP", "tcp://10.0.0.1:50051"),
            ("PORT_50051_TCP_ADDR", "10.0.0.1"),
            ("REDIS_SERVICE_HOST", "10.0.0.2"),
            ("REDIS_PORT", "tcp://10.0.0.2:6379"),
            ("REDIS_PORT_6379_TCP_PROTO", "tcp"),
        ] {
            assert!(is_service_link(name, value), "{name}");
        }
        for (name, value) in [("LISTEN", "127.0.0.1:1"), ("PORT", "50051"), ("STORE__SERVICE_HOST", "x")] {
            assert!(!is_service_link(name, value), "{name}");
        }
    }
}
