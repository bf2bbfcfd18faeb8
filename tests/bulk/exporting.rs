//! `vault-engine export`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use vault_engine::adapters::store::export::ExportReader;

use crate::site::Site;

#[tokio::test]
async fn an_export_has_everything_as_it_lies_in_the_store_and_nothing_in_the_clear() {
    let site = Site::new();
    site.import(300).await;
    // What needs no keys must not ask for them.
    fs::rename(site.path("kms.key"), site.path("elsewhere")).unwrap();
    site.export("backup").await;
    assert!(!site.path("kms.key").exists());

    let bytes = fs::read(site.path("backup")).unwrap();
    let mut export = ExportReader::open(bytes.as_slice()).unwrap();
    let mut items = Vec::new();
    while let Some(item) = export.next_record().unwrap() {
        items.push(item);
    }
    let mut stored = site.everything("a").await;
    let name = |item: &vault_engine::domain::ports::Item| format!("{:?}", item.address);
    items.sort_by_key(name);
    stored.sort_by_key(name);
    assert_eq!(items, stored);
    // A connection and a key for each user, the keys of their tenant, and those of the installation.
    assert_eq!(items.len(), 602);
    assert_eq!(export.head().environment.as_str(), "dev");
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
    assert_eq!(fs::metadata(site.path("backup")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!site.path("backup.partial").exists());
    let audited = site.audited("a", "export");
    assert_eq!((audited.len(), &audited[0]["result"]), (1, &json!("ok")));
}

#[tokio::test]
async fn there_is_no_export_in_the_clear() {
    let site = Site::new();
    site.import(1).await;
    let told = site.run("export --config a.yaml --out backup").await.failed();
    assert!(told.contains("there is no export of tokens in the clear") && told.contains("--sealed"), "{told}");
    assert!(!site.path("backup").exists());
}

#[tokio::test]
async fn an_export_overwrites_nothing_and_makes_no_store() {
    let site = Site::new();
    fs::write(site.path("backup"), "precious").unwrap();
    let told = site.run("export --config a.yaml --sealed --out backup").await.failed();
    assert!(told.contains("is there already"), "{told}");
    assert_eq!(fs::read(site.path("backup")).unwrap(), b"precious");

    let told = site.run("export --config a.yaml --sealed --out other").await.failed();
    assert!(told.contains("there is no store at"), "{told}");
    assert!(!site.path("a/vault.redb").exists() && !site.path("other").exists());
}

#[tokio::test]
async fn without_a_trail_there_is_no_export() {
    let site = Site::new();
    site.import(1).await;
    let export = site.command("export --config a.yaml --sealed --out backup");
    let told = export.env("VAULT_ENGINE_AUDIT__PATH", "/dev/full").run().await.failed();
    assert!(told.contains("the audit trail cannot be written"), "{told}");
    assert!(!site.path("backup").exists() && !site.path("backup.partial").exists());
}
