//! Lines of any number and of bounded length.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use zeroize::Zeroizing;

/// More than any token takes: two of 32 KiB, and scopes of 64 KiB, with room for what JSON escapes.
pub(super) const MAX_BYTES: usize = 256 * 1_024;

/// Reads lines.
pub(super) struct Lines<R> {
    input: R,
    number: u64,
    bytes: u64,
}

/// A line.
pub(super) struct Line {
    /// Which, from 1.
    pub(super) number: u64,
    /// Where it ends in the input.
    pub(super) end: u64,
    /// What it says, without its end; `None`: more than [`MAX_BYTES`]. Wiped when dropped.
    pub(super) text: Option<Zeroizing<Vec<u8>>>,
}

// === impl Lines ===

impl<R: AsyncBufRead + Unpin> Lines<R> {
    pub(super) fn of(input: R) -> Self {
        Self { input, number: 0, bytes: 0 }
    }

    /// The next line; `None`: that was all.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Zeroizing::new(Vec::new());
        let (mut too_long, mut ended, mut any) = (false, false, false);
        while !ended {
            let buffer = self.input.fill_buf().await?;
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            ended = end.is_some();
            let (part, used) = end.map_or((buffer, buffer.len()), |end| (buffer.get(..end).unwrap_or(&[]), end + 1));
            if text.len() + part.len() > MAX_BYTES {
                // Read on to its end, and kept no longer.
                too_long = true;
                text = Zeroizing::new(Vec::new());
            } else if !too_long {
                text.extend_from_slice(part);
            }
            self.input.consume(used);
            self.bytes += used as u64;
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Line { number: self.number, end: self.bytes, text: (!too_long).then_some(text) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(input: &[u8]) -> Vec<(u64, u64, Option<Vec<u8>>)> {
        let mut lines = Lines::of(tokio::io::BufReader::with_capacity(7, input));
        let mut read = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            read.push((line.number, line.end, line.text.map(|text| text.to_vec())));
        }
        read
    }

    #[tokio::test]
    async fn lines_are_counted_whether_or_not_the_last_one_ends() {
        let one = (1, 11, Some(b"first line".to_vec()));
        assert_eq!(read(b"").await, []);
        assert_eq!(read(b"first line\n").await, std::slice::from_ref(&one));
        assert_eq!(read(b"first line\n\nx").await, [one, (2, 12, Some(Vec::new())), (3, 13, Some(b"x".to_vec()))]);
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
        let long = [vec![b'x'; MAX_BYTES + 1], b"\nnext".to_vec()].concat();
        let read = read(&long).await;
        assert_eq!(read, [(1, MAX_BYTES as u64 + 2, None), (2, MAX_BYTES as u64 + 6, Some(b"next".to_vec()))]);
        let longest = vec![b'x'; MAX_BYTES];
        assert_eq!(super::tests::read(&longest).await, [(1, MAX_BYTES as u64, Some(longest))]);
    }
}
