//! Slow handshakes: whoever takes time for one takes nobody else's.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use crate::eventually::eventually;
use crate::house::{House, Pki};

const SILENT: usize = 400;

/// The first bytes of a `ClientHello`, which is never finished.
const HALF_A_WORD: [u8; 9] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_silent_handshakes_hold_up_nobody_and_are_cut_off_in_time() {
    let house = House::with(Pki::new(), "", &[]).await;
    let mut silent = Vec::new();
    for number in 0..SILENT {
        let mut connection = TcpStream::connect(house.address()).await.unwrap();
        if number % 2 == 0 {
            connection.write_all(&HALF_A_WORD).await.unwrap();
        }
        silent.push(connection);
    }
    let begun = Instant::now();

    for _ in 0..10 {
        let answer = timeout(Duration::from_secs(3), house.caller(None).get("ada")).await;
        assert_eq!(answer.expect("it waits for somebody else").unwrap_err().code(), Code::NotFound);
    }

    assert!(begun.elapsed() < Duration::from_secs(5), "by then they are gone");
    for mut connection in silent {
        let mut buffer = [0; 64];
        let ended = async { while let Ok(1..) = connection.read(&mut buffer).await {} };
        timeout(Duration::from_secs(15), ended).await.expect("it is kept");
    }
    let said = eventually("the log says so", async || {
        house.vault.logged("a connection was turned away, because TLS could not be agreed on")
    });
    assert_eq!(said.await["error"], "timed out");
    let lines = house.vault.stderr().matches("a connection was turned away").count();
    assert_eq!(lines, 1, "one line for all of them");
}
