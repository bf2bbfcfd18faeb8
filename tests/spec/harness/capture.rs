//! Everything that is logged at any level by anybody in this process, each test's on its own.

use std::cell::RefCell;
use std::io;
use std::sync::{Arc, LazyLock, Mutex, Once};

use serde_json::Value;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

type Lines = Arc<Mutex<Vec<u8>>>;

/// What was logged on the thread of one test.
pub(super) struct Log(Lines);

struct Router;

struct Pen(Lines);

thread_local! {
    static OWN: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

/// What the threads log that belong to no test, such as the writers of stores and audit trails.
static OTHERS: LazyLock<Lines> = LazyLock::new(Lines::default);

// === impl Log ===

impl Log {
    /// Takes down what this thread logs from now on.
    pub(super) fn of_this_thread() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let builder = tracing_subscriber::fmt().json().flatten_event(true);
            builder.with_max_level(LevelFilter::TRACE).with_writer(Router).init();
        });
        let lines = Lines::default();
        OWN.set(Some(Arc::clone(&lines)));
        Self(lines)
    }

    /// The lines of the vault itself so far, without those of the libraries below it.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let ours = text.lines().filter(|line| line.contains("\"target\":\"vault_engine"));
        ours.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Everything, and what was logged on threads that belong to no test.
    pub(super) fn everything(&self) -> [Vec<u8>; 2] {
        [self.0.lock().unwrap().clone(), OTHERS.lock().unwrap().clone()]
    }
}

// === impl Router ===

impl MakeWriter<'_> for Router {
    type Writer = Pen;

    fn make_writer(&self) -> Pen {
        let own = OWN.try_with(|own| own.borrow().clone()).ok().flatten();
        Pen(own.unwrap_or_else(|| Arc::clone(&OTHERS)))
    }
}

impl io::Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
