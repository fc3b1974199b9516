//! The lines that a process prints, kept as they come, so that a test can wait for one or look at all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a test waits for something that should happen at once. Generous: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `what` has happened.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !happened()? {
        ensure!(started.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Lines of output, growing.
#[derive(Clone)]
pub struct Lines {
    seen: watch::Receiver<Vec<String>>,
}

impl Lines {
    /// Follows `pipes` on `tasks` until they end.
    pub fn follow(pipes: Vec<Box<dyn AsyncRead + Send + Unpin>>, tasks: &mut JoinSet<()>) -> Self {
        let (sender, seen) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        for pipe in pipes {
            let sender = Arc::clone(&sender);
            tasks.spawn(async move {
                let mut lines = BufReader::new(pipe).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    sender.send_modify(|seen| seen.push(line));
                }
            });
        }
        Self { seen }
    }

    /// What was printed until now.
    pub fn all(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// The same as one text.
    pub fn text(&self) -> String {
        self.all().join("\n")
    }

    /// How many lines hold `part`.
    pub fn count(&self, part: &str) -> usize {
        self.seen
            .borrow()
            .iter()
            .filter(|line| line.contains(part))
            .count()
    }

    /// Waits for a line that holds `part`. Ends early, with all that was printed, when there is nothing left
    /// to print.
    pub async fn wait_for(&self, part: &str) -> Result<String> {
        let mut seen = self.seen.clone();
        let found = |lines: &Vec<String>| lines.iter().any(|line| line.contains(part));
        let outcome = tokio::time::timeout(PATIENCE, seen.wait_for(found)).await;
        let line = match outcome {
            Ok(Ok(lines)) => lines.iter().find(|line| line.contains(part)).cloned(),
            Ok(Err(_)) | Err(_) => None,
        };
        line.ok_or_else(|| anyhow!("no line held {part:?}; printed was:\n{}", self.text()))
    }
}
