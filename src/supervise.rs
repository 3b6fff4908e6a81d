//! The tasks of this process: all are counted from here, and those without which it would look alive and do nothing end
//! it with their own end.

use std::fmt::Display;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::task::JoinHandle;
use tracing::error;

/// `EX_SOFTWARE` of sysexits.
const INTERNAL_ERROR: i32 = 70;

/// Tasks that have begun and not ended. Runtimes do not count what a thread spawns for itself.
static TASKS: AtomicUsize = AtomicUsize::new(0);

/// How many tasks there are.
#[must_use]
pub fn tasks() -> usize {
    TASKS.load(Ordering::Relaxed)
}

/// Runs a task on this thread.
pub fn spawn<T: 'static>(task: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    tokio::task::spawn_local(counted(task))
}

/// A task that somebody else spawns.
pub fn counted<F: Future>(task: F) -> Counted<F> {
    TASKS.fetch_add(1, Ordering::Relaxed);
    Counted { task, count: Count }
}

pin_project! {
    /// A task that is counted until it is dropped. An `async` block around it would keep room for it twice.
    pub struct Counted<F> {
        #[pin]
        task: F,
        count: Count,
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().task.poll(context)
    }
}

/// One of [`TASKS`].
struct Count;

impl Drop for Count {
    fn drop(&mut self) {
        TASKS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a task on this thread; if it panics, the process ends, and whoever supervises it starts another. `name` is
/// what the log calls it.
pub fn spawn_critical(name: &'static str, task: impl Future<Output = ()> + 'static) {
    let task = spawn(task);
    spawn(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            exit(name, &"it panicked, which is a bug");
        }
    });
}

/// The same for a listener's server, which must not fail either.
pub fn spawn_server<E: Display>(
    name: &'static str,
    server: impl Future<Output = Result<(), E>> + 'static,
) {
    spawn_critical(name, async move {
        if let Err(error) = server.await {
            exit(name, &error);
        }
    });
}

/// Ends the process, as a part of it cannot go on.
pub fn exit(name: &'static str, reason: &dyn Display) -> ! {
    error!(task = name, %reason, "the server cannot go on without this task: the process ends");
    std::process::exit(INTERNAL_ERROR)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const CASE: &str = "SUPERVISED";

    /// Runs in a process of its own, as the next test's.
    #[test]
    fn a_supervised_process() {
        let Some(case) = std::env::var_os(CASE) else {
            return;
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            match case.to_str() {
                Some("panics") => spawn_critical("it", async { panic!("on purpose") }),
                Some("fails") => spawn_server("it", async { Err("on purpose") }),
                _ => {
                    spawn_critical("it", async {});
                    spawn_server("it", async { Ok::<_, &str>(()) });
                }
            }
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
    }

    #[test]
    fn the_process_ends_with_a_task_that_cannot_go_on() {
        for (case, code) in [("panics", 70), ("fails", 70), ("ends", 0)] {
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "supervise::tests::a_supervised_process"])
                .env(CASE, case)
                .output()
                .unwrap()
                .status;
            assert_eq!(status.code(), Some(code), "{case}");
        }
    }
}
