//! The commands around a vault with TLS: they check it, and speak it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::certificates::{Identity, Wish};
use crate::house::{House, Pki, WORKLOAD, command};
use crate::installation::{ENGINE, Installation};
use crate::process::{CommandLine, vault_engine};

/// A command that asks this vault, believing its authority and showing this certificate.
fn asking(house: &House, words: &[&str], identity: &Identity) -> CommandLine {
    let file = |path: &std::path::Path| path.display().to_string();
    vault_engine(words)
        .env("VAULT_ENGINE_SERVER", &house.server)
        .env("VAULT_ENGINE_ENGINE_ID", ENGINE)
        .env("VAULT_ENGINE_KEY", house.installation.key())
        .env("VAULT_ENGINE_TLS_CA", file(&house.pki.servers.certificate()))
        .env("VAULT_ENGINE_TLS_CERT", file(&identity.certificate))
        .env("VAULT_ENGINE_TLS_KEY", file(&identity.key))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_the_right_certificate_is_answered() {
    let house = House::bound("required").await;
    let own = house.pki.workload(WORKLOAD);

    assert_eq!(asking(&house, &["health"], &own).run().await.succeeded().trim(), "SERVING");
    assert!(asking(&house, &["status", "ada"], &own).run().await.succeeded().contains("PLATFORM"));

    let other = house.pki.workload("spiffe://prod.example/ns/other");
    assert!(asking(&house, &["status", "ada"], &other).run().await.failed().contains("invalid_credentials"));
    let forged = house.pki.test.sign("forged", &Wish::client(&format!("URI:{WORKLOAD}")));
    assert!(asking(&house, &["health"], &forged).run().await.code != Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vault_that_cannot_prove_who_it_is_is_not_told_a_key() {
    let house = House::bound("optional").await;
    let own = house.pki.workload(WORKLOAD);
    let other = house.pki.test.certificate().display().to_string();

    let told = asking(&house, &["health"], &own).env("VAULT_ENGINE_TLS_CA", other).run().await.failed();
    assert!(told.contains("UnknownIssuer"), "{told}");

    let told = asking(&house, &["health", "--tls-server-name", "elsewhere"], &own).run().await.failed();
    assert!(told.contains("not valid for name"), "{told}");

    let clear = house.server.replace("https://", "http://");
    let told = asking(&house, &["health", "--server", &clear], &own).run().await.failed();
    assert!(told.contains("TLS is for a server at `https://…`"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_can_read_is_not_used() {
    let house = House::bound("required").await;
    let own = house.pki.workload(WORKLOAD);
    let engine_key = own.key.with_extension("engine");
    fs::write(&engine_key, house.installation.key()).unwrap();
    let open = |file: &std::path::Path, mode| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();

    open(&engine_key, 0o644);
    let with_file =
        || asking(&house, &["status", "ada"], &own).env("VAULT_ENGINE_KEY_FILE", engine_key.display().to_string());
    assert!(with_file().run().await.failed().contains("too open for a secret"));
    open(&engine_key, 0o600);
    with_file().run().await.succeeded();

    open(&own.key, 0o644);
    assert!(asking(&house, &["health"], &own).run().await.failed().contains("too open for a secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_reads_the_certificates_and_serve_refuses_what_it_cannot_use() {
    let pki = Pki::new();
    let installation = Installation::over_a_file(None, &pki.section(&pki.trust_domains())).await;
    let file = installation.write_config("a");
    let check = async || vault_engine(["check", "--config", &file]).run().await;

    let told = check().await.succeeded();
    assert!(told.contains("tls") && told.contains("client certificates: required"), "{told}");

    fs::copy(pki.servers.sign("other", &Wish::server()).key, pki.mounted().join("tls.key")).unwrap();
    for told in [check().await.failed(), command(&installation, &[WORKLOAD]).run().await.failed()] {
        assert!(told.contains("`tls.cert_file` and `tls.key_file` cannot be used together"), "{told}");
    }
    fs::remove_file(pki.mounted().join("tls.crt")).unwrap();
    let told = check().await.failed();
    assert!(told.contains("`tls.cert_file` names") && told.contains("cannot be read"), "{told}");
}
