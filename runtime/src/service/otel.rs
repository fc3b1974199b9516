//! Carries the traces, metrics and logs of guests to a collector, as OTLP over
//! HTTP with protobuf.
//!
//! The container's environment says where to, with OpenTelemetry's own names. A
//! guest never waits for the collector: what it hands over is kept in a bounded
//! queue and sent in batches, and dropped when the queue is full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use super::exchange::{Limits, exchange};
use crate::outbound::Client;

/// What waits at most, in things that guests handed over.
const QUEUE: usize = 2048;

/// So many are sent together.
const BATCH: usize = 512;

/// How long a thing waits for others.
const PAUSE: Duration = Duration::from_secs(1);

const LIMITS: Limits = Limits {
    time: Duration::from_secs(10),
    length: 1 << 20,
};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// The three signals: what their settings and their paths are called.
const SIGNALS: [(&str, &str); 3] = [
    ("TRACES", "traces"),
    ("METRICS", "metrics"),
    ("LOGS", "logs"),
];

/// Something of a guest for the collector.
pub(crate) enum Signal {
    Trace(ResourceSpans),
    Metric(ResourceMetrics),
    Log(ResourceLogs),
}

/// What the environment says.
#[derive(Clone, Debug, Default)]
struct Settings {
    /// Where traces, metrics and logs go.
    endpoints: [Option<Url>; 3],
    headers: Vec<(HeaderName, HeaderValue)>,
    service: Option<String>,
}

/// Carries signals to the collector.
pub(crate) struct Otel {
    queue: Option<mpsc::Sender<Order>>,
    wanted: [bool; 3],
    service: String,
    /// Whether something was dropped already, which is logged once.
    full: AtomicBool,
}

enum Order {
    Carry(Box<Signal>),
    /// Everything that came before is to be sent.
    Flush(oneshot::Sender<()>),
}

impl Otel {
    /// Reads the environment. Nothing is sent where it names no collector.
    ///
    /// # Errors
    /// One sentence for every setting that cannot be used.
    pub(crate) fn new(
        env: &[(String, String)],
        app: &str,
        client: &Arc<Client>,
    ) -> Result<Self, Vec<String>> {
        let settings = Settings::read(env)?;
        let wanted = settings.endpoints.each_ref().map(Option::is_some);
        let service = settings.service.clone();
        let queue = wanted.contains(&true).then(|| {
            let (sender, receiver) = mpsc::channel(QUEUE);
            let work = carry(receiver, settings, Arc::clone(client));
            #[expect(
                clippy::disallowed_methods,
                reason = "it ends with its sender, and `finish` waits for what it has"
            )]
            tokio::spawn(work);
            sender
        });
        Ok(Self {
            queue,
            wanted,
            service: service.unwrap_or_else(|| app.to_owned()),
            full: AtomicBool::new(false),
        })
    }

    /// Hands something over, without waiting.
    pub(crate) fn hand_over(&self, signal: Signal) {
        let place = match &signal {
            Signal::Trace(_) => 0,
            Signal::Metric(_) => 1,
            Signal::Log(_) => 2,
        };
        let Some(queue) = self.queue.as_ref().filter(|_| self.wanted[place]) else {
            return;
        };
        let kept = queue.try_send(Order::Carry(Box::new(signal)));
        if kept.is_err() && !self.full.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "guests hand over more telemetry than the collector takes; some is lost"
            );
        }
    }

    /// What is said of who sends a component's traces and logs.
    pub(crate) fn resource(&self, component: &str) -> Resource {
        let attribute = |key: &str, value: &str| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(value.to_owned())),
            }),
            ..Default::default()
        };
        Resource {
            attributes: vec![
                attribute("service.name", &self.service),
                attribute("component_id", component),
            ],
            ..Default::default()
        }
    }

    /// Waits until what was handed over is sent.
    pub(crate) async fn finish(&self) {
        let Some(queue) = &self.queue else {
            return;
        };
        let (done, told) = oneshot::channel();
        if queue.send(Order::Flush(done)).await.is_ok() {
            let _ = told.await;
        }
    }
}

impl Settings {
    fn read(env: &[(String, String)]) -> Result<Self, Vec<String>> {
        let set = |name: &str| {
            let found = env.iter().rev().find(|(key, _)| key == name);
            let value = found.map(|(_, value)| value.trim());
            value.filter(|value| !value.is_empty())
        };
        let mut settings = Self::default();
        if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(settings);
        }
        let mut problems = Vec::new();
        settings.service = set("OTEL_SERVICE_NAME").map(ToOwned::to_owned);
        for (place, (name, path)) in SIGNALS.into_iter().enumerate() {
            let own = format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT");
            let url = match (set(&own), set(ENDPOINT)) {
                (Some(url), _) => Url::parse(url).map_err(|error| format!("{own}={url}: {error}")),
                (None, Some(url)) => {
                    let full = format!("{}/v1/{path}", url.trim_end_matches('/'));
                    Url::parse(&full).map_err(|error| format!("{ENDPOINT}={url}: {error}"))
                }
                (None, None) => continue,
            };
            let protocols = [
                format!("OTEL_EXPORTER_OTLP_{name}_PROTOCOL"),
                "OTEL_EXPORTER_OTLP_PROTOCOL".to_owned(),
            ];
            let protocol = protocols.iter().find_map(|name| Some((name, set(name)?)));
            match (url, protocol) {
                (_, Some((name, value))) if value != "http/protobuf" => problems.push(format!(
                    "{name}={value}: catena sends telemetry by http/protobuf only; set that, and \
                     the collector's port for it (usually 4318)"
                )),
                (Ok(url), _) if ["http", "https"].contains(&url.scheme()) => {
                    settings.endpoints[place] = Some(url);
                }
                (Ok(url), _) => problems.push(format!(
                    "{url} is where {path} are to be sent, and is no URL of an HTTP server"
                )),
                (Err(problem), _) => problems.push(problem),
            }
        }
        let headers = set("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default();
        for pair in headers.split(',').filter(|pair| !pair.trim().is_empty()) {
            match header(pair) {
                Some(header) => settings.headers.push(header),
                // Not shown: it may hold a secret.
                None => problems.push(
                    "OTEL_EXPORTER_OTLP_HEADERS is no list of name=value; correct it".to_owned(),
                ),
            }
        }
        problems.dedup();
        if problems.is_empty() {
            Ok(settings)
        } else {
            Err(problems)
        }
    }
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let mut value = HeaderValue::from_str(value.trim()).ok()?;
    value.set_sensitive(true);
    Some((name.trim().parse().ok()?, value))
}

/// Sends what comes, in batches, until nobody hands anything over any more.
async fn carry(mut queue: mpsc::Receiver<Order>, settings: Settings, client: Arc<Client>) {
    let mut failing = false;
    while let Some(first) = queue.recv().await {
        let mut orders = vec![first];
        let until = tokio::time::Instant::now() + PAUSE;
        while orders.len() < BATCH && !matches!(orders.last(), Some(Order::Flush(_))) {
            match tokio::time::timeout_at(until, queue.recv()).await {
                Ok(Some(order)) => orders.push(order),
                Ok(None) | Err(_) => break,
            }
        }
        let mut flushed = None;
        let (mut traces, mut metrics, mut logs) = (Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            match order {
                Order::Flush(done) => flushed = Some(done),
                Order::Carry(signal) => match *signal {
                    Signal::Trace(one) => traces.push(one),
                    Signal::Metric(one) => metrics.push(one),
                    Signal::Log(one) => logs.push(one),
                },
            }
        }
        let bodies = [
            encoded(traces, |resource_spans| {
                ExportTraceServiceRequest { resource_spans }.encode_to_vec()
            }),
            encoded(metrics, |resource_metrics| {
                ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
            }),
            encoded(logs, |resource_logs| {
                ExportLogsServiceRequest { resource_logs }.encode_to_vec()
            }),
        ];
        for (body, url) in bodies.into_iter().zip(&settings.endpoints) {
            let (Some(body), Some(url)) = (body, url) else {
                continue;
            };
            let sent = send(&client, url, &settings.headers, body).await;
            if let Err(problem) = &sent
                && !failing
            {
                tracing::warn!("telemetry of guests is lost: {problem}");
            }
            failing = sent.is_err();
        }
        if let Some(done) = flushed {
            let _ = done.send(());
        }
    }
}

fn encoded<T>(batch: Vec<T>, encode: impl Fn(Vec<T>) -> Vec<u8>) -> Option<Bytes> {
    (!batch.is_empty()).then(|| Bytes::from(encode(batch)))
}

async fn send(
    client: &Client,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
    body: Bytes,
) -> Result<(), String> {
    let mut request = Request::post(url.as_str()).header(CONTENT_TYPE, "application/x-protobuf");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(body).map_err(|error| error.to_string())?;
    match exchange(client, request, LIMITS).await? {
        (status, _) if status.is_success() => Ok(()),
        (status, _) => Err(format!("the collector answered with {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let env = pairs.iter();
        let env = env.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::read(&env.collect::<Vec<_>>())
    }

    #[test]
    fn where_signals_go() {
        let settings = read(&[
            (ENDPOINT, "http://c:4318/"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://l/own"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hush, y = z"),
        ])
        .unwrap();
        let urls = settings.endpoints.map(|url| url.unwrap().to_string());
        assert_eq!(
            urls,
            [
                "http://c:4318/v1/traces",
                "http://c:4318/v1/metrics",
                "http://l/own"
            ]
        );
        assert_eq!(settings.headers.len(), 2);
    }

    #[test]
    fn disabled_is_nothing_at_all() {
        let disabled = [("OTEL_SDK_DISABLED", "true"), (ENDPOINT, "nonsense")];
        assert_eq!(read(&disabled).unwrap().endpoints, [const { None }; 3]);
        assert_eq!(read(&[]).unwrap().endpoints, [const { None }; 3]);
    }

    #[test]
    fn grpc_is_refused() {
        let grpc = [
            (ENDPOINT, "http://c:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ];
        let problems = read(&grpc).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("http/protobuf"));
    }
}
