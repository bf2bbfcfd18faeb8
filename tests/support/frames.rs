//! HTTP/2 by hand (RFC 9113, RFC 7541): a client that says what no library would, and just enough reading to tell what it
//! was answered.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What every client begins with.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Settings that ask for nothing.
pub(crate) const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SET: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

const LONGEST_FRAME: usize = 16_384;
const PATIENCE: Duration = Duration::from_secs(10);

/// `SETTINGS_HEADER_TABLE_SIZE` 0: nothing may be told by a reference to what was told before.
const NO_TABLE: [u8; 6] = [0, 1, 0, 0, 0, 0];

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Headers and trailers together, and the body.
    Answer { fields: Vec<(String, String)>, body: Vec<u8> },
    /// The stream was reset, with this code.
    Reset(u32),
    /// The connection was ended, with this code if it was said.
    Ended(Option<u32>),
}

/// A connection on which anything can be said.
pub(crate) struct Raw {
    stream: TcpStream,
}

// === writing ===

/// A frame, whatever is in it.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A block of fields, none of which refers to another.
pub(crate) fn fields<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// A block of fields in as many frames as it takes.
pub(crate) fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let parts: Vec<&[u8]> = block.chunks(LONGEST_FRAME).collect();
    for (number, part) in parts.iter().enumerate() {
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        let flags = if number + 1 == parts.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags, stream, part));
    }
    bytes
}

/// A message as gRPC frames it, and the end of the stream.
pub(crate) fn message(stream: u32, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    frame(DATA, END_STREAM, stream, &[&[0], &length[..], bytes].concat())
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(block: &mut Vec<u8>, value: usize) {
    let Some(mut rest) = value.checked_sub(127) else { return block.push(u8::try_from(value).unwrap()) };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

// === impl Raw ===

impl Raw {
    /// Connects and greets.
    pub(crate) async fn connect(address: &str) -> Self {
        let mut raw = Self { stream: TcpStream::connect(address).await.unwrap() };
        raw.stream.set_nodelay(true).unwrap();
        raw.send(&[PREFACE, &frame(SET, 0, 0, &NO_TABLE)].concat()).await.unwrap();
        raw
    }

    /// Says something.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The next frame; `None`: there will be none.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Calls: these fields, this message. What becomes of it.
    pub(crate) async fn call(&mut self, stream: u32, block: &[u8], bytes: &[u8]) -> Outcome {
        // It may be ended in the middle of what is said.
        let _ = self.send(&[headers(stream, block), message(stream, bytes)].concat()).await;
        timeout(PATIENCE, self.outcome(stream)).await.expect("there is no answer")
    }

    async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut fields, mut body) = (Vec::new(), Vec::new());
        while let Some(frame) = self.next().await {
            match frame.kind {
                GOAWAY if frame.payload[4..8] != [0; 4] => return Outcome::Ended(Some(code(&frame.payload[4..8]))),
                RST_STREAM if frame.stream == stream && fields.is_empty() => {
                    return Outcome::Reset(code(&frame.payload));
                }
                // A trailer that came before is the answer; what was still to be said is not wanted.
                RST_STREAM if frame.stream == stream => return Outcome::Answer { fields, body },
                HEADERS if frame.stream == stream => fields.extend(decode(&frame.payload)),
                DATA if frame.stream == stream => body.extend(frame.payload),
                _ => continue,
            }
            if frame.flags & END_STREAM != 0 && frame.stream == stream {
                return Outcome::Answer { fields, body };
            }
        }
        Outcome::Ended(None)
    }
}

fn code(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().unwrap())
}

// === reading ===

/// The fields of a block that refers to nothing but the static table.
fn decode(block: &[u8]) -> Vec<(String, String)> {
    let (mut rest, mut fields) = (block, Vec::new());
    while let Some(first) = rest.first() {
        let (prefix, literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            0x20.. => {
                number(&mut rest, 5);
                continue;
            }
            _ => (4, true),
        };
        let index = number(&mut rest, prefix);
        let (name, value) = known(index);
        let name = if index == 0 { text(&mut rest) } else { name.to_owned() };
        let value = if literal { text(&mut rest) } else { value.to_owned() };
        fields.push((name, value));
    }
    fields
}

/// What an answer refers to in the static table (RFC 7541, appendix A).
fn known(index: usize) -> (&'static str, &'static str) {
    match index {
        0 => ("", ""),
        8 => (":status", "200"),
        13 => (":status", "404"),
        9..=14 => (":status", "other"),
        28 => ("content-length", ""),
        31 => ("content-type", ""),
        33 => ("date", ""),
        other => panic!("entry {other} of the table"),
    }
}

fn number(rest: &mut &[u8], prefix: u32) -> usize {
    let mask = (1_usize << prefix) - 1;
    let (first, mut tail) = rest.split_first().unwrap();
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (next, behind) = tail.split_first().unwrap();
            tail = behind;
            value += (usize::from(*next) & 127) << shift;
            shift += 7;
            if next & 128 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    value
}

fn text(rest: &mut &[u8]) -> String {
    let packed = rest[0] & 128 != 0;
    let length = number(rest, 7);
    let (bytes, tail) = rest.split_at(length);
    *rest = tail;
    if packed { unpack(bytes) } else { String::from_utf8(bytes.to_vec()).unwrap() }
}

/// The visible characters by the length of their code, each with the code of the first one (RFC 7541, appendix B). Codes of
/// one length count up.
const CODES: [(u32, u32, &str); 11] = [
    (5, 0, "012aceiost"),
    (6, 20, " %-./3456789=A_bdfghlmnpru"),
    (7, 92, ":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"),
    (8, 248, "&*,;XZ"),
    (10, 1_016, "!\"()?"),
    (11, 2_042, "'+|"),
    (12, 4_090, "#>"),
    (13, 8_185, "$@[]~"),
    (14, 16_380, "^}"),
    (15, 32_764, "<`{"),
    (19, 524_272, "\\"),
];

fn unpack(bytes: &[u8]) -> String {
    let (mut text, mut code, mut length) = (String::new(), 0_u32, 0);
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |place| u32::from(byte >> place & 1))) {
        (code, length) = (code << 1 | bit, length + 1);
        let row = CODES.iter().find(|(bits, ..)| *bits == length);
        let found = row.and_then(|(_, first, characters)| {
            let place = code.checked_sub(*first)?;
            characters.chars().nth(place as usize)
        });
        if let Some(character) = found {
            text.push(character);
            (code, length) = (0, 0);
        }
    }
    text
}

#[test]
fn what_the_specification_packs_is_read() {
    let packed = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
    assert_eq!(unpack(&packed), "www.example.com");
    let block = fields(&[("custom-key", "custom-value")]);
    assert_eq!(decode(&block), [("custom-key".to_owned(), "custom-value".to_owned())]);
    assert_eq!(decode(&fields(&[("a", "x".repeat(300))]))[0].1.len(), 300);
}
