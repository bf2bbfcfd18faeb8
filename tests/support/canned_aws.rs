//! An AWS service that gives every call the same answer: for the errors no emulator makes, and for what is no AWS at all.

#![expect(clippy::disallowed_methods, reason = "the server ends with the test, not with a shutdown")]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A listening server. Stops when dropped.
pub(crate) struct CannedAws {
    endpoint: String,
    calls: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

// === impl CannedAws ===

impl CannedAws {
    /// Answers with an error of this code.
    pub(crate) async fn failing(status: u16, code: &str) -> Self {
        Self::answering(status, &format!(r#"{{"__type":"{code}","message":"a text nobody should log"}}"#)).await
    }

    /// Answers with this status and body.
    pub(crate) async fn answering(status: u16, body: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("loopback has a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let answer = format!(
            "HTTP/1.1 {status} Canned\r\ncontent-type: application/x-amz-json-1.1\r\nx-amzn-requestid: r-1\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                // One at a time: the tests ask one question at a time. A caller that hangs up is no fault of ours.
                let _ = serve(stream, &answer).await;
            }
        });
        Self { endpoint: format!("http://127.0.0.1:{port}"), calls, task }
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// How many requests have come, retries included.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Drop for CannedAws {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads one whole request, so that closing the connection does not reset it, and answers.
async fn serve(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !is_whole(&request) {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    length.and_then(|(_, value)| value.trim().parse::<usize>().ok()).is_none_or(|length| body.len() >= length)
}
