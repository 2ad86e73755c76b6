//! The moments at which a test can kill the engine: before and after every append, and after every effect.
//!
//! Once the chosen moment has come, whoever passes any point stops there for ever, as the threads of a killed
//! process do; the test then drops the runtime with everything that was still going on in it.

use std::sync::Mutex;

use tokio::sync::Notify;

/// Counts the moments of one life of the engine, and ends it at one of them.
pub(crate) struct Points {
    inner: Mutex<Inner>,
    killed: Notify,
}

struct Inner {
    passed: usize,
    kill_at: Option<usize>,
    dead: bool,
    last: String,
}

impl Points {
    /// Kills at the `kill_at`-th moment, from 1; never for `None`.
    pub(crate) fn new(kill_at: Option<usize>) -> Self {
        Self { inner: Mutex::new(Inner { passed: 0, kill_at, dead: false, last: String::new() }), killed: Notify::new() }
    }

    /// A moment at which the process may die.
    pub(crate) async fn pass(&self, what: &str) {
        let dies = {
            let mut inner = self.inner.lock().unwrap();
            if !inner.dead {
                inner.passed += 1;
                inner.last = format!("{} {what}", inner.passed);
                inner.dead = inner.kill_at == Some(inner.passed);
            }
            inner.dead
        };
        if dies {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Goes on only while the process lives.
    pub(crate) async fn alive(&self) {
        let dead = self.inner.lock().unwrap().dead;
        if dead {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when the process has died.
    pub(crate) async fn killed(&self) {
        self.killed.notified().await;
    }

    /// How many moments have passed.
    pub(crate) fn passed(&self) -> usize {
        self.inner.lock().unwrap().passed
    }

    /// The last moment that passed, for a test's message.
    pub(crate) fn last(&self) -> String {
        self.inner.lock().unwrap().last.clone()
    }
}
