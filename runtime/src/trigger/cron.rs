//! The clock.
//!
//! Expressions are in UTC. A tick wakes a fresh instance also where the one of
//! the tick before is still at work, as Spin has it. Ticks that were missed,
//! since the process or the machine stood still, are one tick, not many.

use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cron::Schedule;
use tokio_util::sync::CancellationToken;

use super::Wake;
use super::work::Works;
use crate::call::{ComponentIndex, Event, Tick};

/// The longest sleep: someone may set the clock meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

/// One trigger.
pub(super) struct Cron {
    id: String,
    component: ComponentIndex,
    schedule: Schedule,
}

impl Cron {
    /// # Errors
    /// The end of a sentence that begins with the expression.
    pub(super) fn new(
        id: &str,
        component: ComponentIndex,
        expression: &str,
    ) -> Result<Self, String> {
        let fields = expression.split_whitespace().count();
        if !expression.starts_with('@') && !(6..=7).contains(&fields) {
            return Err(format!(
                "has {fields} fields, but needs 6 or 7: second, minute, hour, day of month, \
                 month, day of week and, if wanted, year"
            ));
        }
        let schedule = Schedule::from_str(expression)
            .map_err(|error| format!("is no cron expression: {error}"))?;
        Ok(Self {
            id: id.to_owned(),
            component,
            schedule,
        })
    }

    pub(super) async fn run(self, wake: Wake, shutdown: CancellationToken) {
        let mut works = Works::new();
        let mut last = Utc::now();
        loop {
            let Some(due) = self.schedule.after(&last).next() else {
                tracing::warn!("trigger {:?} has no time to come", self.id);
                break;
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = works.beside(until(due)) => {}
            }
            last = Utc::now().max(due);
            if works.is_busy() {
                tracing::warn!(
                    "trigger {:?}: a tick is left out, since too many before it are at work",
                    self.id
                );
                continue;
            }
            let timestamp = u64::try_from(due.timestamp()).unwrap_or_default();
            let event = Event::Tick(self.component, Tick { timestamp });
            let wake = wake.clone();
            // There is room: it was asked for above.
            let _ = works.offer(async move {
                // That a guest failed is logged already.
                let _ = wake.wake(event).await;
            });
        }
        works.finish().await;
    }
}

/// Sleeps until a time of the clock on the wall.
async fn until(due: DateTime<Utc>) {
    while let Ok(left) = (due - Utc::now()).to_std() {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LONGEST_SLEEP)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(expression: &str) -> Option<String> {
        Cron::new("t", ComponentIndex(0), expression).err()
    }

    #[test]
    fn six_or_seven_fields() {
        assert_eq!(problem("0 0 12 * * *"), None);
        assert_eq!(problem("*/2 * * * * * *"), None);
        assert_eq!(problem("0 30 9 1,15 May-Aug Mon,Fri 2040"), None);
        let five = problem("0 12 * * *").unwrap();
        assert!(five.contains("has 5 fields"), "{five}");
        let wrong = problem("61 * * * * *").unwrap();
        assert!(wrong.contains("is no cron expression"), "{wrong}");
    }
}
