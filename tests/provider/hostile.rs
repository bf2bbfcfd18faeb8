//! Providers that mean harm, and networks that do it without meaning to. Whatever they do: no panic, bounded memory,
//! bounded time, nothing sent anywhere else, and the truth about whether the request may have been received.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;
use tracing_subscriber::util::SubscriberInitExt as _;
use vault_engine::domain::ports::{Exchange, TransportFault};
use vault_engine::domain::secret::{ClientSecret, RefreshToken};

use crate::provider::{Answer, Gate, Provider, Seen};
use crate::world::{World, granted, lost, not_sent, refused, template, tokens};

/// How late an exchange may end, on a busy machine.
const GRACE: Duration = Duration::from_secs(1);

const HEAD: &str = "HTTP/1.1 200 OK\r\n";

/// For exchanges that only the time limit ends.
async fn hurried() -> World {
    let mut world = World::new().await;
    world.time_limit = Duration::from_millis(800);
    world
}

/// `{"access_token":"new-access"}` and 60,000 spaces, gzip-compressed, in base64.
const PACKED: &str = "H4sIAAAAAAACA+3IsQmAMBAAwFXkexdwGQnhq0AsErAQd0/hEhZ35T1Ras0xznm17HFEz3v/Kt4NAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA4GcWBkXj433qAAA=";

/// Answers so, and holds that the exchange ends in time.
async fn in_time(world: &World, answer: Answer) -> Exchange {
    let began = Instant::now();
    let exchange = world.answered(answer).await;
    assert!(began.elapsed() < world.time_limit + GRACE, "took {:?}", began.elapsed());
    exchange
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let (world, canary) = (World::new().await, Provider::start().await);
    for status in [300, 301, 302, 303, 304, 307, 308, 399] {
        for target in [canary.url("/steal"), format!("//{}/steal", canary.address()), "/token".to_owned()] {
            let answer = Answer::json(status, &tokens()).header("location", &target);
            assert_eq!(lost(in_time(&world, answer).await), TransportFault::Redirect, "{status} to {target}");
        }
    }
    assert_eq!(canary.connections(), 0);
    assert_eq!(world.provider.requests().len(), 8 * 3);
}

#[tokio::test]
async fn an_answer_that_names_another_place_in_its_headers_makes_no_difference() {
    let (world, canary) = (World::new().await, Provider::start().await);
    let alternative = format!("h2=\"{}\"; ma=86400", canary.address());
    let answer = Answer::json(200, &tokens())
        .header("alt-svc", &alternative)
        .header("link", &format!("<{}>; rel=preload", canary.url("/")))
        .header("refresh", &format!("0; url={}", canary.url("/")))
        .header("set-cookie", "session=1; Path=/");
    drop(granted(in_time(&world, answer).await));
    drop(granted(in_time(&world, Answer::json(200, &tokens())).await));
    assert_eq!(canary.connections(), 0);
    assert_eq!(world.provider.requests().last().and_then(|seen| seen.header("cookie").map(str::to_owned)), None);
}

#[tokio::test]
async fn a_provider_that_drips_is_cut_off_at_the_time_limit() {
    let world = hurried().await;
    let body = tokens().to_string();
    let whole = format!("{HEAD}content-length: {}\r\n\r\n{body}", body.len());
    let head = format!("{HEAD}content-length: {}\r\n\r\n", body.len());
    for answer in [Answer::drip("", whole.clone()), Answer::drip(head, body)] {
        assert_eq!(lost(in_time(&world, answer).await), TransportFault::Timeout);
    }
}

#[tokio::test]
async fn a_provider_that_never_answers_is_cut_off_at_the_time_limit() {
    let world = hurried().await;
    assert_eq!(lost(in_time(&world, Answer::silence()).await), TransportFault::Timeout);
    let goes_on = Answer::endless("", "HTTP/1.1 100 Continue\r\n\r\n".repeat(100));
    lost(in_time(&world, goes_on).await);
}

#[tokio::test]
async fn no_caller_can_wait_longer_than_ten_seconds() {
    let mut world = World::new().await;
    world.time_limit = Duration::from_hours(1);
    world.provider.will(Answer::silence());
    let began = Instant::now();
    // From here on nothing but time can end the exchange, so time may run as fast as it can.
    let stop_the_clock = async {
        world.provider.has_seen(1).await;
        tokio::time::pause();
    };
    let (exchange, ()) = tokio::join!(world.refresh(), stop_the_clock);
    assert_eq!(lost(exchange), TransportFault::Timeout);
    assert!(began.elapsed() < Duration::from_secs(11), "took {:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_not_read_to_its_end() {
    let world = World::new().await;
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x1_0000));
    for (head, piece) in [
        (format!("{HEAD}content-length: 10737418240\r\n\r\n"), "x".repeat(65_536)),
        (format!("{HEAD}\r\n"), "x".repeat(65_536)),
        (format!("{HEAD}transfer-encoding: chunked\r\n\r\n"), chunk),
    ] {
        assert_eq!(lost(in_time(&world, Answer::endless(head, piece)).await), TransportFault::TooLarge);
    }
    // What was written and not read lies in the buffers of the sockets.
    assert!(world.provider.written() < 64 * 1024 * 1024, "{} bytes were taken", world.provider.written());
}

#[tokio::test]
async fn the_largest_answer_that_is_read_has_64_kib() {
    let world = World::new().await;
    let tokens = tokens().to_string();
    let padded = |size: usize| format!("{tokens}{}", " ".repeat(size - tokens.len()));
    drop(granted(in_time(&world, Answer::text(200, &padded(65_536))).await));
    assert_eq!(lost(in_time(&world, Answer::text(200, &padded(65_537))).await), TransportFault::TooLarge);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let world = World::new().await;
    let field = |size: usize| Answer::json(200, &tokens()).header("x-long", &"x".repeat(size));
    drop(granted(in_time(&world, field(15 * 1024)).await));
    assert_eq!(lost(in_time(&world, field(17 * 1024)).await), TransportFault::TooLarge);
    assert_eq!(
        lost(in_time(&world, Answer::endless(HEAD, "x-more: 1\r\n".repeat(100))).await),
        TransportFault::TooLarge
    );
    assert_eq!(
        lost(in_time(&world, Answer::endless(format!("{HEAD}x: "), "x".repeat(1_000))).await),
        TransportFault::TooLarge
    );
}

#[tokio::test]
async fn nesting_a_hundred_thousand_deep_does_no_harm() {
    let world = World::new().await;
    // As deep as fits into an answer that is read, and deeper than fits.
    for levels in [30_000, 100_000] {
        for nested in ["[".repeat(levels), r#"{"access_token":"#.repeat(levels / 16), "[{\"a\":".repeat(levels / 6)] {
            let expected = if nested.len() > 65_536 { TransportFault::TooLarge } else { TransportFault::Malformed };
            assert_eq!(lost(in_time(&world, Answer::text(200, &nested)).await), expected, "{levels} levels");
        }
    }
}

#[tokio::test]
async fn a_compressed_answer_is_not_unpacked() {
    let packed = STANDARD.decode(PACKED).unwrap();
    let world = World::new().await;
    for encoding in ["gzip", "br", "deflate", "zstd", "gzip, gzip, gzip"] {
        let answer = Answer::bytes(200, &packed).header("content-encoding", encoding);
        assert_eq!(lost(in_time(&world, answer).await), TransportFault::Malformed, "{encoding}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_after_the_request_was_read_leaves_it_in_doubt() {
    let world = World::new().await;
    let cut = format!("{HEAD}content-length: 500\r\n\r\n{}", tokens());
    let chunked = format!("{HEAD}transfer-encoding: chunked\r\n\r\n5\r\n{{\"acc");
    for bytes in [String::new(), HEAD.to_owned(), cut, chunked, "\0\u{1}not http\r\n\r\n".to_owned()] {
        assert_eq!(lost(in_time(&world, Answer::raw(bytes.clone())).await), TransportFault::Broken, "`{bytes}`");
    }
}

#[tokio::test]
async fn a_request_is_sent_once_whatever_becomes_of_it() {
    let world = World::new().await;
    drop(in_time(&world, Answer::raw("")).await);
    drop(in_time(&world, Answer::json(503, &tokens()).header("retry-after", "0")).await);
    drop(in_time(&world, Answer::json(408, &tokens())).await);
    drop(in_time(&world, Answer::json(421, &tokens())).await);
    assert_eq!(world.provider.requests().len(), 4);
}

#[tokio::test]
async fn an_answer_nobody_asked_for_is_not_taken_for_the_next_one() {
    let world = World::new().await;
    let smuggled = format!("{HEAD}content-length: 29\r\n\r\n{{\"access_token\":\"smuggled\"}}   ");
    for _ in 0..20 {
        drop(granted(world.answered(Answer::json(200, &tokens()).followed_by(smuggled.as_bytes())).await));
        assert_eq!(granted(world.answered_json(tokens()).await).renewed.access.expose(), "new-access");
    }
}

#[tokio::test]
async fn a_queue_that_accepts_nobody_was_not_sent_anything() {
    // A listener that never accepts completes the handshake in its backlog, so TLS is what does not come about.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut world = hurried().await;
    let address = silent.local_addr().unwrap();
    world.platform.profile.token_url = template(&format!("https://{address}/token"));
    assert_eq!(not_sent(world.refresh().await), TransportFault::Timeout);
    // Over plain HTTP the request goes out, and nobody can tell whether it is read.
    world.platform.profile.token_url = template(&format!("http://{address}/token"));
    assert_eq!(lost(world.refresh().await), TransportFault::Timeout);
}

#[tokio::test]
async fn no_time_at_all_is_not_enough_to_send_anything() {
    let mut world = World::new().await;
    world.time_limit = Duration::ZERO;
    assert_eq!(not_sent(world.refresh().await), TransportFault::Timeout);
    assert_eq!(world.provider.connections(), 0);
}

#[tokio::test]
async fn an_answer_reaches_the_one_who_asked_even_when_many_ask_at_once() {
    let mut worlds = vec![World::new().await];
    let gate = Gate::closed();
    let held = gate.clone();
    worlds[0].provider.otherwise(move |seen: &Seen| {
        let token = seen.form().remove("refresh_token").unwrap();
        Answer::json(200, &serde_json::json!({ "access_token": format!("for {token}") })).behind(&held)
    });
    let url = worlds[0].provider.url("/token");
    for number in 1..20 {
        let mut world = World::new().await;
        world.platform.profile.token_url = template(&url);
        world.refresh_token = RefreshToken::new(format!("user-{number}")).unwrap();
        worlds.push(world);
    }
    let everybody = futures_util::future::join_all(worlds.iter().map(World::refresh));
    let release = async {
        worlds[0].provider.has_seen(20).await;
        gate.open();
    };
    let (exchanges, ()) = tokio::join!(everybody, release);
    for (world, exchange) in worlds.iter().zip(exchanges) {
        assert_eq!(granted(exchange).renewed.access.expose(), format!("for {}", world.refresh_token.expose()));
    }
}

/// Everything that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn nothing_of_a_request_or_an_answer_is_logged_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    // Of this thread only, where the client runs as well: others would flood it.
    let _watched = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .set_default();
    let mut world = World::new().await;
    world.refresh_token = RefreshToken::new("canary-refresh".to_owned()).unwrap();
    world.client_secret = ClientSecret::new("canary-secret".to_owned());
    let body = serde_json::json!({ "access_token": "canary-access", "error_description": "canary-text" });
    let granted = granted(world.answered(Answer::json(200, &body).header("x-canary", "canary-header")).await);
    drop(refused(world.answered(Answer::json(400, &body)).await));
    lost(world.answered(Answer::json(200, &serde_json::json!({ "x": "canary-odd" }))).await);
    lost(world.answered(Answer::raw("canary-not-http\r\n\r\n")).await);
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("hyper"), "the log is not being watched");
    assert!(!logged.contains("canary-"), "{logged}");
    assert!(!format!("{granted:?} {:?}", world.endpoint).contains("canary-"));
}
