//! The made-up platforms of every vault under test: one profile each, all at the one scripted provider.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

/// A made-up platform.
struct Platform {
    id: &'static str,
    /// What its profile says beyond the addresses.
    profile: &'static str,
    /// How many client secrets this installation has there; `None`: it is not registered.
    secrets: Option<usize>,
}

/// `{provider}` is where the provider listens.
const PLATFORMS: [Platform; 8] = [
    // As the standard says, and nothing else is known.
    Platform { id: "plain", profile: "display_name: Plain Mail", secrets: Some(1) },
    Platform { id: "rotating", profile: "refresh: { rotates: yes, replay: revoke_all }", secrets: Some(1) },
    Platform { id: "keeping", profile: "refresh: { rotates: no }", secrets: Some(1) },
    Platform { id: "paired", profile: "client_auth: basic", secrets: Some(2) },
    Platform { id: "lasting", profile: "expiry: { never: true }", secrets: Some(1) },
    Platform { id: "fixed", profile: "refresh: { supported: false }", secrets: Some(1) },
    Platform { id: "unregistered", profile: "", secrets: None },
    // Nobody listens on port 1.
    Platform { id: "unreachable", profile: "refresh_url: http://127.0.0.1:1/token", secrets: Some(1) },
];

/// Shipped platforms that are enabled besides.
const SHIPPED: [&str; 2] = ["gmail", "notion"];

/// Writes the profiles; what comes back are the settings that go with them. `make_secret` makes a client secret.
pub(super) fn install(
    folder: &Path,
    provider: SocketAddr,
    mut make_secret: impl FnMut() -> String,
) -> BTreeMap<String, String> {
    fs::create_dir(folder).unwrap();
    let enabled: Vec<&str> = PLATFORMS.iter().map(|platform| platform.id).chain(SHIPPED).collect();
    let mut settings = BTreeMap::from([
        ("VAULT_ENGINE_PROFILES_DIR".to_owned(), folder.display().to_string()),
        ("VAULT_ENGINE_PLATFORMS__GMAIL__CLIENT_ID".to_owned(), "client-of-gmail".to_owned()),
        ("VAULT_ENGINE_OUTBOUND__ALLOW_LOOPBACK".to_owned(), "true".to_owned()),
        ("VAULT_ENGINE_ENABLED_PLATFORMS".to_owned(), format!("[{}]", enabled.join(", "))),
    ]);
    for Platform { id, profile, secrets } in PLATFORMS {
        let text = format!(
            "docs: https://platform.example/docs\nfacts_as_of: 2026-11-21\nauthorize_url: \
             http://{provider}/{id}/authorize\ntoken_url: http://{provider}/{id}/token\n{profile}\n"
        );
        fs::write(folder.join(format!("{id}.yaml")), text).unwrap();
        let Some(secrets) = secrets else { continue };
        let name = id.to_ascii_uppercase();
        let variables: Vec<String> =
            (0..secrets).map(|number| format!("VAULT_ENGINE_SECRET_{name}_{number}")).collect();
        let references: Vec<String> = variables.iter().map(|variable| format!("{{ env: {variable} }}")).collect();
        settings.insert(format!("VAULT_ENGINE_PLATFORMS__{name}__CLIENT_ID"), format!("client-of-{id}"));
        settings
            .insert(format!("VAULT_ENGINE_PLATFORMS__{name}__CLIENT_SECRETS"), format!("[{}]", references.join(", ")));
        settings.extend(variables.into_iter().map(|variable| (variable, make_secret())));
    }
    settings
}
