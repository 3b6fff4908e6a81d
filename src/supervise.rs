//! Tasks without which the process would look alive and do nothing.

use tracing::error;

/// Runs a task on this thread; if it panics, the process ends, and whoever supervises it starts another. `name` is
/// what the log calls it.
pub fn indispensable(name: &'static str, task: impl Future<Output = ()> + 'static) {
    /// `EX_SOFTWARE` of sysexits.
    const INTERNAL_ERROR: i32 = 70;
    let task = tokio::task::spawn_local(task);
    tokio::task::spawn_local(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            error!(
                task = name,
                "a loop panicked: this is a bug; the process ends"
            );
            std::process::exit(INTERNAL_ERROR);
        }
    });
}
