//! The runtime the vault runs on. Benchmarks build the same one for what the vault is compared with.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// A multi-threaded runtime without the LIFO slot, where the build allows to switch it off.
///
/// With few worker threads a connection's task and the tasks of its calls hand each other that slot and starve
/// everybody else; without it a small server does up to twice the work.
///
/// # Errors
///
/// When the operating system gives no threads.
pub fn build() -> io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.enable_all();
    #[cfg(tokio_unstable)]
    builder.disable_lifo_slot();
    builder.build()
}
