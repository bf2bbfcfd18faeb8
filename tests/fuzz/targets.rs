//! What reads bytes somebody else wrote. Each takes anything, and neither panics nor believes what was not made here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use vault_engine::access::{EngineKey, KeyVerifier};
use vault_engine::adapters::profiles;
use vault_engine::adapters::store::export::ExportReader;
use vault_engine::config::Config;
use vault_engine::domain::id::TenantId;
use vault_engine::domain::profile::UrlPolicy;
use vault_engine::domain::spiffe::SpiffeId;
use vault_engine::envelope::context::{Context, Kind};
use vault_engine::envelope::seal::open;
use vault_engine::envelope::{decode, encode};
use vault_engine::pb::vault_v1::StoreTokenRequest;
use vault_engine::transport::{self, store_token_for};

/// The key of the records that are fuzzed.
pub(crate) const KEY: [u8; 32] = [0x11; 32];
/// Their generation.
pub(crate) const GENERATION: u32 = 3;
/// Their version.
pub(crate) const VERSION: u64 = 9;

/// The place they belong to.
pub(crate) fn place() -> Context {
    let (environment, tenant) = ("prod".parse().expect("an id"), "acme".parse().expect("an id"));
    Context::new(Kind::Token, &environment, &tenant, "u-42", "google")
}

/// A sealed record: it opens only as it was sealed.
pub(crate) fn sealed(bytes: &[u8]) -> bool {
    open(&KEY, GENERATION, &place(), bytes).is_ok()
}

/// What is inside a record: whatever is understood is written the same way again.
pub(crate) fn record(bytes: &[u8]) -> bool {
    let Ok(entry) = decode(bytes) else { return false };
    let again = encode(&entry);
    let second = decode(&again).expect("what was written can be read");
    assert_eq!(*encode(&second), *again);
    true
}

/// An export, read to its end.
pub(crate) fn export(bytes: &[u8]) -> bool {
    let Ok(mut reader) = ExportReader::open(bytes) else { return false };
    loop {
        match reader.next_record() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// The key of an engine, and its verifier: what is understood is the same text again.
pub(crate) fn engine_key(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let verifier = KeyVerifier::parse("4J7QX2M9ZK3T", text);
    assert!(verifier.is_none_or(|verifier| verifier.to_text() == text.to_ascii_lowercase()));
    text.parse::<EngineKey>().is_ok_and(|key| key.expose() == text)
}

/// A SPIFFE id: what is understood is the same text again, in a trust domain.
pub(crate) fn spiffe_id(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let Ok(id) = text.parse::<SpiffeId>() else { return false };
    assert_eq!(id.as_str(), text);
    let path =
        text.strip_prefix("spiffe://").and_then(|rest| rest.strip_prefix(id.trust_domain())).expect("its domain");
    assert!(path.starts_with('/') && !path.contains("//") && !path.ends_with('/'));
    true
}

/// A certificate in DER: the one workload it names.
pub(crate) fn certificate(bytes: &[u8]) -> bool {
    transport::named_workload(bytes).is_ok_and(|workload| workload.is_some())
}

/// A line of an import.
pub(crate) fn import_line(bytes: &[u8]) -> bool {
    let Ok(request) = serde_json::from_slice::<StoreTokenRequest>(bytes) else { return false };
    store_token_for(TenantId::default_tenant(), request).is_ok()
}

/// The profile of a platform, which every fault of names a place in.
pub(crate) fn profile(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("acme.yaml");
    write(&file, bytes);
    profiles::check_file(&file, UrlPolicy::Strict).is_empty()
}

/// A configuration.
pub(crate) fn configuration(bytes: &[u8]) -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    write(&file, bytes);
    Config::load(Some(&file), std::iter::empty()).is_ok()
}

fn write(file: &std::path::Path, bytes: &[u8]) {
    fs::write(file, bytes).expect("a file");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("its mode");
}
