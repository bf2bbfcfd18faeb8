//! Generates the gRPC code and the descriptor set, without protoc, and lists the platform profiles, so that both are part
//! of the binary.

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    generate_protobuf()?;
    list_profiles()
}

fn generate_protobuf() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let public = protox::compile(["vault/v1/token_vault.proto", "vault/v1/admin.proto"], ["proto"])?;
    std::fs::write(out.join("vault.v1.fds"), public.encode_to_vec())?;
    // The command line reads and prints messages as JSON.
    let parsed = "#[derive(serde::Deserialize)] #[serde(default, deny_unknown_fields)]";
    let printed = "#[derive(serde::Serialize)]";
    tonic_prost_build::configure()
        .type_attribute("vault.v1.StoreTokenRequest", parsed)
        .type_attribute("vault.v1.StoreTokenResponse", printed)
        .type_attribute("vault.v1.GetTokenResponse", printed)
        .type_attribute("vault.v1.GetStatusResponse", printed)
        .type_attribute("vault.v1.PlatformStatus", printed)
        .type_attribute("vault.v1.LastRefresh", printed)
        .type_attribute("vault.v1.TokenInfo", printed)
        .type_attribute("vault.v1.WatchStatusResponse", printed)
        .type_attribute(
            "vault.v1.WatchStatusResponse.event",
            "#[derive(serde::Serialize)] #[serde(rename_all = \"snake_case\")]",
        )
        .type_attribute("vault.v1.SnapshotStart", printed)
        .type_attribute("vault.v1.ConnectionStatus", printed)
        .type_attribute("vault.v1.SnapshotEnd", printed)
        .type_attribute("vault.v1.Heartbeat", printed)
        .type_attribute("vault.v1.DeleteTokenResponse", printed)
        .type_attribute("vault.v1.Tenant", printed)
        .type_attribute("vault.v1.Engine", printed)
        .type_attribute("vault.v1.Policy", printed)
        .type_attribute("vault.v1.Rule", printed)
        .type_attribute("vault.v1.Limits", printed)
        .type_attribute("vault.v1.Key", printed)
        .type_attribute("vault.v1.CheckAccessResponse", printed)
        .type_attribute("vault.v1.Policy", parsed)
        .type_attribute("vault.v1.Rule", parsed)
        // Messages with secrets in them have a Debug written by hand.
        .skip_debug([
            "vault.v1.StoreTokenRequest",
            "vault.v1.GetTokenResponse",
            "vault.v1.CreateKeyResponse",
            "vault.v1.RotateKeyResponse",
        ])
        .codec_path("crate::pb::Codec")
        .compile_fds(public)?;
    // What is inside a record has no Debug at all, and no service.
    let stored = protox::compile(["vault/store/v1/record.proto", "vault/store/v1/registry.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .skip_debug([
            "vault.store.v1.ConnectionRecord",
            "vault.store.v1.TokenGrant",
            "vault.store.v1.RegistryKey",
            "vault.store.v1.RegistryEngine",
            "vault.store.v1.Registry",
        ])
        .compile_fds(stored)?;
    Ok(())
}

/// Writes `profiles.rs`: one pair of id and text for each file in `platform_profiles`, sorted.
fn list_profiles() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=platform_profiles");
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("platform_profiles");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut list = String::from("&[");
    for file in &files {
        let id = file.file_stem().unwrap_or_default().to_string_lossy();
        write!(list, "({id:?}, include_str!({:?})), ", file.to_string_lossy())?;
    }
    list.push(']');
    std::fs::write(PathBuf::from(std::env::var("OUT_DIR")?).join("profiles.rs"), list)?;
    Ok(())
}
