//! Shows a pull to whoever waits for it.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use super::{ModelStore, PullError, PullProgress};

const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// [`ModelStore::pull`] with a progress bar per file on standard error, or a log line every few seconds where that is no
/// terminal.
pub async fn pull_with_progress_bars(store: &ModelStore, name: &str) -> Result<Vec<PathBuf>, PullError> {
    if std::io::stderr().is_terminal() {
        let bars = Bars::default();
        let result = store.pull(name, |progress| bars.show(progress)).await;
        bars.close();
        result
    } else {
        let log = Log::default();
        store.pull(name, |progress| log.show(progress)).await
    }
}

/// The bar of the file that is being pulled, with the file's name.
#[derive(Default)]
struct Bars {
    current: Mutex<Option<(String, ProgressBar)>>,
}

impl Bars {
    fn show(&self, progress: PullProgress<'_>) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = match &*current {
            Some((file, bar)) if file == progress.file => bar.clone(),
            previous => {
                if let Some((_, bar)) = previous {
                    bar.finish();
                }
                let bar = new_bar(&progress);
                *current = Some((progress.file.to_owned(), bar.clone()));
                bar
            }
        };
        bar.set_message(progress.source.as_str());
        bar.set_position(progress.bytes_done);
    }

    fn close(&self) {
        if let Some((_, bar)) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.abandon();
        }
    }
}

fn new_bar(progress: &PullProgress<'_>) -> ProgressBar {
    const TEMPLATE: &str =
        "{prefix} ({msg}) {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}";
    let bar = ProgressBar::new(progress.bytes_total).with_prefix(progress.file.to_owned());
    // What was there before this pull says nothing about its speed.
    bar.set_position(progress.bytes_done);
    bar.reset_eta();
    match ProgressStyle::with_template(TEMPLATE) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// When the last line was written.
#[derive(Default)]
struct Log {
    last: Mutex<Option<Instant>>,
}

impl Log {
    fn show(&self, PullProgress { file, bytes_done, bytes_total, source }: PullProgress<'_>) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes_done < bytes_total && last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        let percent = bytes_done.saturating_mul(100) / bytes_total.max(1);
        tracing::info!(file, %source, percent, bytes_done, bytes_total, "pulling");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_template_is_valid() {
        let progress = PullProgress { file: "a", bytes_done: 0, bytes_total: 1, source: super::super::SourceKind::Hub };
        new_bar(&progress).finish();
        assert!(ProgressStyle::with_template("{prefix} ({msg}) {wide_bar} {binary_bytes}").is_ok());
    }
}
