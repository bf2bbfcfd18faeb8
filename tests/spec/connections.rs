//! Connections themselves: how many there may be, and what becomes of those on which nothing is said.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use vault_engine::pb::vault_v1::WatchStatusRequest;
use vault_engine::transport::ServerLimits;

use crate::harness::{Setup, Vault, get, until};

const GREETING: Duration = Duration::from_millis(400);

/// What a client begins with, and its first frame: empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

/// A frame that asks whether somebody is there, and what stands in it and in its answer.
const PING: [u8; 9] = [0, 0, 8, 6, 0, 0, 0, 0, 0];
const PING_PAYLOAD: [u8; 8] = *b"anybody?";

fn with_room_for(connections: usize) -> Setup {
    Setup::default().limited(ServerLimits { connections, greeting: GREETING, ..ServerLimits::default() })
}

async fn connect(vault: &Vault) -> TcpStream {
    TcpStream::connect(vault.url().trim_start_matches("http://")).await.unwrap()
}

/// Everything until the other side ends it, however it does.
async fn until_it_ends(mut connection: TcpStream) {
    let mut buffer = [0; 256];
    let ended = async { while let Ok(1..) = connection.read(&mut buffer).await {} };
    timeout(Duration::from_secs(10), ended).await.expect("it is kept");
}

#[test]
fn whoever_says_nothing_or_half_a_word_is_shown_out_and_makes_room() {
    with_room_for(2).run(async |vault| {
        let begun = Instant::now();
        let (silent, mut halting) = (connect(vault).await, connect(vault).await);
        halting.write_all(&PREFACE[..20]).await.unwrap();

        let tokens = vault.connect("gmail", 3_600).await;

        assert!(begun.elapsed() >= GREETING, "there was room for a third connection");
        until_it_ends(silent).await;
        until_it_ends(halting).await;
        let got = vault.as_engine("local").call(get("gmail")).await.unwrap();
        assert_eq!(got.access_token, tokens.access);
    });
}

#[test]
fn whoever_has_greeted_may_be_silent_for_longer() {
    with_room_for(2).run(async |vault| {
        let mut connection = connect(vault).await;
        connection.write_all(&[PREFACE, &SETTINGS].concat()).await.unwrap();
        let greeted = Instant::now();
        until("a while has passed", async || (greeted.elapsed() > GREETING * 2).then_some(())).await;

        connection.write_all(&[&PING[..], &PING_PAYLOAD].concat()).await.unwrap();

        let mut heard = Vec::new();
        while !heard.windows(8).any(|bytes| bytes == PING_PAYLOAD) {
            let read = timeout(Duration::from_secs(10), connection.read_buf(&mut heard)).await;
            assert_ne!(read.unwrap().unwrap(), 0, "it was cut off");
        }
    });
}

const AGE: Duration = Duration::from_millis(500);

fn that_age() -> Setup {
    let limits = ServerLimits { connection_age: AGE, connection_grace: AGE, ..ServerLimits::default() };
    Setup::default().limited(limits)
}

#[test]
fn an_old_connection_is_asked_to_go_before_it_is_ended() {
    that_age().run(async |vault| {
        let mut connection = connect(vault).await;
        connection.write_all(&[PREFACE, &SETTINGS].concat()).await.unwrap();

        let mut heard = Vec::new();
        timeout(Duration::from_secs(10), connection.read_to_end(&mut heard)).await.expect("it is kept").unwrap();

        let (mut kinds, mut rest) = (Vec::new(), &heard[..]);
        while let [a, b, c, kind, ..] = rest {
            kinds.push(*kind);
            rest = &rest[9 + u32::from_be_bytes([0, *a, *b, *c]) as usize..];
        }
        assert!(kinds.contains(&7), "no GOAWAY among {kinds:?}");
    });
}

#[test]
fn a_stream_ends_when_the_grace_of_its_old_connection_is_over() {
    that_age().run(async |vault| {
        let begun = Instant::now();
        let local = vault.as_engine("local");
        let mut watch = local.watch(WatchStatusRequest::default()).await.unwrap();

        let last = loop {
            match watch.next().await {
                Some(Ok(_)) => {}
                last => break last,
            }
        };

        assert!(begun.elapsed() >= AGE * 2, "{:?}", begun.elapsed());
        assert!(last.is_none_or(|last| last.is_err()));
        let tokens = vault.connect("gmail", 3_600).await;
        assert_eq!(local.call(get("gmail")).await.unwrap().access_token, tokens.access, "on a new connection");
    });
}
