//! Tells containerd what happens to tasks: one queue, in order, over a connection that is made
//! again whenever containerd went away. Used by `task` and `container`; never blocks them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use containerd_shim::event::Event;
use containerd_shim::protos::protobuf::Message;
use containerd_shim::protos::protobuf::well_known_types::any::Any;
use containerd_shim::protos::shim::event::Envelope;
use containerd_shim::protos::shim::events::ForwardRequest;
use containerd_shim::protos::shim_async::{Client, EventsClient};
use containerd_shim::protos::ttrpc;
use containerd_shim::util::timestamp;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

/// How many events wait for containerd before the oldest is given up.
const QUEUE_LIMIT: usize = 4096;
/// How long one event may take to be acknowledged.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often containerd may refuse an event before it is given up.
const REFUSALS: u32 = 3;
/// The longest pause between attempts to reach containerd.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The sending end of the queue.
#[derive(Clone)]
pub(crate) struct Publisher {
    queue: Arc<Queue>,
    namespace: String,
}

struct Queue {
    events: Mutex<VecDeque<Envelope>>,
    arrived: Notify,
    /// True while nothing waits and nothing is being sent.
    idle: watch::Sender<bool>,
}

impl Publisher {
    /// Starts a queue towards containerd's ttrpc socket at `address`.
    pub(crate) fn start(address: String, namespace: String, tasks: &TaskTracker) -> Publisher {
        let queue = Arc::new(Queue {
            events: Mutex::default(),
            arrived: Notify::new(),
            idle: watch::Sender::new(true),
        });
        tasks.spawn(forward(Arc::clone(&queue), address));
        Publisher { queue, namespace }
    }

    /// Puts one event at the end of the queue.
    pub(crate) fn publish(&self, event: impl Event + Message) {
        let topic = event.topic();
        let (Ok(time), Ok(event)) = (timestamp(), any("containerd.events", &event)) else {
            tracing::error!(topic, "an event could not be encoded");
            return;
        };
        let mut envelope = Envelope::new();
        envelope.set_topic(topic);
        envelope.set_namespace(self.namespace.clone());
        envelope.set_timestamp(time);
        envelope.set_event(event);

        let mut events = self
            .queue
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.queue.idle.send_replace(false);
        if events.len() == QUEUE_LIMIT
            && let Some(lost) = events.pop_front()
        {
            tracing::error!(
                topic = lost.topic(),
                "containerd takes no events: one is lost"
            );
        }
        events.push_back(envelope);
        drop(events);
        self.queue.arrived.notify_one();
    }

    /// Waits until everything is sent, but no longer than `limit`.
    pub(crate) async fn drain(&self, limit: Duration) {
        let mut idle = self.queue.idle.subscribe();
        let _ = tokio::time::timeout(limit, idle.wait_for(|idle| *idle)).await;
    }
}

/// A message with the name of its type, as containerd takes messages of any type.
///
/// `convert_to_any` of containerd-shim asks the message's own description for that name, which
/// builds the descriptions of all that its file imports: a third of a megabyte that is never freed.
pub(crate) fn any<M: Message>(package: &str, message: &M) -> anyhow::Result<Any> {
    Ok(Any {
        type_url: format!("{package}.{}", M::NAME),
        value: message.write_to_bytes()?,
        ..Default::default()
    })
}

impl Queue {
    async fn next(&self) -> Envelope {
        loop {
            {
                let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
                match events.pop_front() {
                    Some(event) => return event,
                    None => {
                        self.idle.send_replace(true);
                    }
                }
            }
            self.arrived.notified().await;
        }
    }
}

async fn forward(queue: Arc<Queue>, address: String) {
    let address = if address.contains("://") {
        address
    } else {
        format!("unix://{address}")
    };
    let mut client: Option<EventsClient> = None;
    loop {
        let mut request = ForwardRequest::new();
        request.set_envelope(queue.next().await);
        let mut refusals = 0;
        let mut pause = Duration::from_millis(20);
        loop {
            match send(&mut client, &address, &request).await {
                Ok(()) => break,
                Err(ttrpc::Error::RpcStatus(status)) => {
                    refusals += 1;
                    let reason = status.message();
                    tracing::warn!(topic = request.envelope().topic(), reason, "event refused");
                    if refusals == REFUSALS {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "containerd is away, events wait");
                    client = None;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

async fn send(
    client: &mut Option<EventsClient>,
    address: &str,
    request: &ForwardRequest,
) -> ttrpc::Result<()> {
    let client = match client {
        Some(client) => client,
        None => client.insert(EventsClient::new(Client::connect(address).await?)),
    };
    let context = ttrpc::context::with_duration(ACKNOWLEDGE_TIMEOUT);
    client.forward(context, request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use containerd_shim::protos::api::Empty;
    use containerd_shim::protos::events::task::{TaskExit, TaskStart};
    use containerd_shim::protos::shim_async::{Events, create_events};
    use containerd_shim::protos::ttrpc::r#async::{Server, TtrpcContext};
    use tokio::sync::mpsc;

    struct Recorder(mpsc::UnboundedSender<String>);

    #[async_trait]
    impl Events for Recorder {
        async fn forward(&self, _: &TtrpcContext, request: ForwardRequest) -> ttrpc::Result<Empty> {
            let _ = self.0.send(request.envelope().topic().to_owned());
            Ok(Empty::default())
        }
    }

    #[test]
    fn a_message_is_named_as_its_description_says() {
        use containerd_shim::protos::cgroups::metrics as v1;
        use containerd_shim::protos::cgroups_v2::metrics as v2;
        use containerd_shim::util::convert_to_any;
        let same = [
            (
                any("containerd.events", &TaskStart::new()).unwrap(),
                convert_to_any(Box::new(TaskStart::new())).unwrap(),
            ),
            (
                any("io.containerd.cgroups.v1", &v1::Metrics::new()).unwrap(),
                convert_to_any(Box::new(v1::Metrics::new())).unwrap(),
            ),
            (
                any("io.containerd.cgroups.v2", &v2::Metrics::new()).unwrap(),
                convert_to_any(Box::new(v2::Metrics::new())).unwrap(),
            ),
        ];
        for (ours, theirs) in same {
            assert_eq!(ours, theirs);
        }
    }

    #[tokio::test]
    async fn events_wait_for_containerd_and_keep_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let address = format!("unix://{}/events.sock", folder.path().display());
        let publisher = Publisher::start(address.clone(), "ns".into(), &TaskTracker::new());
        publisher.publish(TaskStart::new());
        publisher.publish(TaskExit::new());
        tokio::time::sleep(Duration::from_millis(30)).await;

        let (sender, mut received) = mpsc::unbounded_channel();
        let mut server = Server::new()
            .bind(&address)
            .unwrap()
            .register_service(create_events(Arc::new(Recorder(sender))));
        server.start().await.unwrap();
        publisher.drain(Duration::from_secs(10)).await;
        assert_eq!(received.recv().await.unwrap(), "/tasks/start");
        assert_eq!(received.recv().await.unwrap(), "/tasks/exit");
    }
}
