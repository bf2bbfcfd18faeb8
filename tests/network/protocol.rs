//! The protocol itself: TLS 1.3 and nothing older, and every connection from the beginning.

use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, IpAddr, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Code;

use crate::caller::Caller;
use crate::certificates::Identity;
use crate::frames::{PREFACE, SETTINGS};
use crate::house::{House, Pki, WORKLOAD, was_turned_away};
use crate::installation::ENGINE;

/// Somebody who shows this certificate, and takes up sessions again where it can.
fn client(house: &House, versions: &[&'static SupportedProtocolVersion], identity: Option<&Identity>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(house.pki.servers.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = config.with_root_certificates(roots);
    let mut config = match identity {
        Some(Identity { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.enable_early_data = true;
    TlsConnector::from(Arc::new(config))
}

async fn connect(house: &House, client: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(house.address()).await?;
    let name = ServerName::IpAddress(IpAddr::from(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let mut stream = client.connect(name, stream).await?;
    // In TLS 1.3 the client is done before the server has looked at its certificate.
    stream.write_all(&[PREFACE, &SETTINGS].concat()).await?;
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).await?;
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_older_than_tls_1_3_is_spoken() {
    let pki = Pki::new();
    let house = House::with(pki, "", &[]).await;
    connect(&house, &client(&house, &[&TLS13], None)).await.unwrap();

    let refused = connect(&house, &client(&house, &[&TLS12], None)).await.unwrap_err();

    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_served_in_the_clear_beside_it() {
    let house = House::with(Pki::new(), "", &[]).await;

    let refused =
        Caller::new(&format!("http://{}", house.address()), ENGINE, house.installation.key()).get("ada").await;

    assert_ne!(refused.unwrap_err().code(), Code::NotFound);
    assert_eq!(house.caller(None).get("ada").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(house.calls(1).await.len(), 1, "only one of them was a call");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_is_taken_up_again_and_nothing_comes_early() {
    let house = House::bound("required").await;
    let own = house.pki.workload(WORKLOAD);
    let client = client(&house, &[&TLS13], Some(&own));
    for _ in 0..3 {
        let stream = connect(&house, &client).await.unwrap();
        let (_, connection) = stream.get_ref();
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connection.tls13_tickets_received(), 0);
        assert!(!connection.is_early_data_accepted());
        assert_eq!(connection.alpn_protocol(), Some(&b"h2"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_believed_is_refused_once_its_authority_is_taken_away() {
    let house = House::bound("required").await;
    let own = house.pki.workload(WORKLOAD);
    let client = client(&house, &[&TLS13], Some(&own));
    connect(&house, &client).await.unwrap();

    let authorities = house.pki.prod.certificate();
    std::fs::copy(house.pki.test.certificate(), &authorities).unwrap();

    crate::eventually::eventually("it is refused", async || connect(&house, &client).await.err().map(|_| ())).await;
    assert!(was_turned_away(&house.caller(Some(&own)).get("ada").await.unwrap_err()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_speaks_another_protocol_inside_is_refused() {
    let house = House::with(Pki::new(), "", &[]).await;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(house.pki.servers.certificate()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];

    let refused = connect(&house, &TlsConnector::from(Arc::new(config))).await.unwrap_err();

    assert!(refused.to_string().contains("ApplicationProtocol"), "{refused}");
}
