//! Who is believed to be the platform. The certificates beside this file are for tests only and expire in a century.

use std::collections::BTreeSet;
use std::path::Path;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use vault_engine::adapters::oauth::OutboundSettings;
use vault_engine::domain::ports::TransportFault;
use vault_engine::domain::profile::UrlPolicy;

use crate::provider::{Answer, Provider};
use crate::world::{World, endpoint_with, granted, not_sent, template, tokens};

/// A certificate for `localhost`, from an authority only this test knows.
fn identity() -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("tls/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("tls/server.key.pem")).unwrap();
    ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
}

fn settings(url_policy: UrlPolicy, authority: Option<&str>) -> OutboundSettings {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provider/tls");
    OutboundSettings {
        url_policy,
        allowed_hosts: BTreeSet::new(),
        extra_ca_file: authority.map(|file| folder.join(file)),
    }
}

/// A world whose provider speaks TLS and is called by this name.
async fn world(host: &str, authority: Option<&str>) -> World {
    let mut world = World::new().await;
    world.provider = Provider::start_tls(identity()).await;
    world.provider.will(Answer::json(200, &tokens()));
    let port = world.provider.address().port();
    world.platform.profile.token_url = template(&format!("https://{host}:{port}/token"));
    world.endpoint = endpoint_with(&settings(UrlPolicy::AllowLoopback, authority)).unwrap();
    world
}

#[tokio::test]
async fn a_platform_of_a_trusted_authority_is_sent_the_token() {
    let world = world("localhost", Some("authority.pem")).await;
    assert_eq!(granted(world.refresh().await).renewed.access.expose(), "new-access");
    assert_eq!(world.provider.only_request().form()["refresh_token"], "old-refresh");
}

#[tokio::test]
async fn a_platform_of_an_unknown_authority_is_not_sent_anything() {
    let world = world("localhost", None).await;
    assert_eq!(not_sent(world.refresh().await), TransportFault::Connect);
    assert!(world.provider.requests().is_empty());
}

#[tokio::test]
async fn a_platform_with_the_certificate_of_another_is_not_sent_anything() {
    let world = world("127.0.0.1", Some("authority.pem")).await;
    assert_eq!(not_sent(world.refresh().await), TransportFault::Connect);
    assert!(world.provider.requests().is_empty());
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_reported_at_the_start() {
    for file in ["none.pem", "server.key.pem"] {
        assert!(endpoint_with(&settings(UrlPolicy::Strict, Some(file))).is_err(), "`{file}`");
    }
}
