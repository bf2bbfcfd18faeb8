//! What one line says, or what is wrong with it: never in its own words, because they may be a token.

use serde_json::Value;
use serde_json::error::Category;

use crate::domain::error::{Fault, InvalidArgument};
use crate::domain::id::TenantId;
use crate::pb::vault_v1::StoreTokenRequest;
use crate::service::StoreTokenCommand;
use crate::transport::store_token_for;

const TEXTS: [&str; 6] = ["user_id", "platform", "access_token", "refresh_token", "tenant", "token_type"];

/// Reads a line into checked values.
pub(super) fn parse(line: &[u8], default_tenant: &TenantId) -> Result<StoreTokenCommand, String> {
    // The reader would take a list for the fields in their order.
    if line.trim_ascii_start().starts_with(b"[") {
        return Err("must be a JSON object".to_owned());
    }
    let request: StoreTokenRequest = serde_json::from_slice(line).map_err(|error| explain(line, &error))?;
    let tenant = if request.tenant.is_empty() { Ok(default_tenant.clone()) } else { request.tenant.parse() };
    let tenant = tenant.map_err(|error| InvalidArgument { field: "tenant", fault: Fault::Id(error) });
    tenant.and_then(|tenant| store_token_for(tenant, request)).map_err(|error| error.to_string())
}

/// The parser's own words quote the line.
pub(in crate::cli) fn explain(line: &[u8], error: &serde_json::Error) -> String {
    let at = match (error.line(), error.column()) {
        (..=1, column) => format!("column {column}"),
        (line, column) => format!("line {line}, column {column}"),
    };
    match error.classify() {
        Category::Eof => "is not JSON: it ends in the middle".to_owned(),
        Category::Syntax | Category::Io => format!("is not JSON, from {at} on"),
        Category::Data => match serde_json::from_slice::<Value>(line) {
            Ok(Value::Object(fields)) => {
                let misfit = fields.iter().find_map(|(name, value)| misfit(name, value));
                misfit.unwrap_or_else(|| format!("does not have the shape of a token, at {at}"))
            }
            Ok(_) => "must be a JSON object".to_owned(),
            Err(_) => format!("is not JSON, from {at} on"),
        },
    }
}

fn misfit(name: &str, value: &Value) -> Option<String> {
    let must_be = |field: &str, kind: &str| Some(format!("`{field}` must be {kind}"));
    if let Some(field) = TEXTS.iter().find(|field| **field == name) {
        return if value.is_string() { None } else { must_be(field, "a string") };
    }
    match name {
        "expires_at" if !value.is_i64() => must_be("expires_at", "a whole number of Unix seconds"),
        "keep_refresh_token" if !value.is_boolean() => must_be("keep_refresh_token", "true or false"),
        "scopes" if !value.as_array().is_some_and(|scopes| scopes.iter().all(Value::is_string)) => {
            must_be("scopes", "a list of strings")
        }
        "expires_at" | "keep_refresh_token" | "scopes" => None,
        _ => Some(format!(
            "has a field that is not known; known are {}, expires_at, scopes, keep_refresh_token",
            TEXTS.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(line: &str) -> String {
        parse(line.as_bytes(), &TenantId::default_tenant()).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_line_is_a_token_of_its_tenant() {
        let line =
            br#"{"user_id":"u","platform":"p","access_token":"a","refresh_token":"r","expires_at":5,"scopes":["s"]}"#;
        let command = parse(line, &"acme".parse().unwrap()).unwrap();
        assert_eq!((command.key.to_string().as_str(), command.access.expose()), ("acme/u:p", "a"));
        let named = br#"{"user_id":"u","platform":"p","access_token":"a","tenant":"globex"}"#;
        assert_eq!(parse(named, &"acme".parse().unwrap()).unwrap().key.to_string(), "globex/u:p");
    }

    #[test]
    fn what_is_wrong_is_said_without_a_word_of_the_line() {
        for (line, says) in [
            ("", "is not JSON: it ends in the middle"),
            ("{\"access_token\":\"canary", "is not JSON: it ends in the middle"),
            ("canary", "is not JSON, from column 1 on"),
            ("[\"canary\"]", "must be a JSON object"),
            ("\"canary\"", "must be a JSON object"),
            ("{\"expires_at\":\"canary\"}", "`expires_at` must be a whole number of Unix seconds"),
            ("{\"scopes\":\"canary\"}", "`scopes` must be a list of strings"),
            ("{\"user_id\":7}", "`user_id` must be a string"),
            ("{\"canary\":1}", "has a field that is not known; known are user_id"),
            ("{\"user_id\":\"can ary\"}", "`user_id` may contain only"),
            ("{\"user_id\":\"u\",\"platform\":\"p\"}", "`access_token` must be given"),
            (
                "{\"user_id\":\"u\",\"platform\":\"p\",\"access_token\":\"canary\\n\"}",
                "`access_token` may contain only",
            ),
            ("{\"tenant\":\"system\"}", "`tenant`"),
        ] {
            let told = wrong(line);
            assert!(told.contains(says), "{line}: {told}");
            assert!(!told.contains("canary"), "{told}");
        }
    }
}
