//! `wasi:otel`: traces, metrics and logs of guests, handed over to whoever
//! carries them to a collector.
//!
//! catena has no traces of its own yet, so that a guest's first span has no
//! parent on the host's side.

use catena_bindings::otel::{logs, metrics, tracing as spans, types};
use opentelemetry_proto::tonic::logs::v1 as log_proto;
use opentelemetry_proto::tonic::trace::v1 as trace_proto;
use wasmtime::component::Linker;

use super::{State, View, Viewed};
use crate::service::Signal;

mod measure;
mod value;

use value::{attributes, identifier, maybe_nanoseconds, nanoseconds, resource, scope, value};

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, Viewed>(linker, State::view)?;
    spans::add_to_linker::<_, Viewed>(linker, State::view)?;
    metrics::add_to_linker::<_, Viewed>(linker, State::view)?;
    logs::add_to_linker::<_, Viewed>(linker, State::view)
}

impl types::Host for View<'_> {}

impl spans::Host for View<'_> {
    fn on_start(&mut self, _context: spans::SpanContext) -> wasmtime::Result<()> {
        Ok(())
    }

    fn on_end(&mut self, span: spans::SpanData) -> wasmtime::Result<()> {
        let schema_url = span.instrumentation_scope.schema_url.clone();
        let scope = scope(span.instrumentation_scope.clone());
        let spans = trace_proto::ResourceSpans {
            resource: Some(self.granted.otel.resource(&self.granted.component)),
            scope_spans: vec![trace_proto::ScopeSpans {
                scope: Some(scope),
                spans: vec![convert_span(span)],
                schema_url: schema_url.unwrap_or_default(),
            }],
            schema_url: String::new(),
        };
        self.granted.otel.hand_over(Signal::Trace(spans));
        Ok(())
    }

    fn outer_span_context(&mut self) -> wasmtime::Result<spans::SpanContext> {
        Ok(spans::SpanContext {
            trace_id: "0".repeat(32),
            span_id: "0".repeat(16),
            trace_flags: spans::TraceFlags::empty(),
            is_remote: false,
            trace_state: Vec::new(),
        })
    }
}

impl metrics::Host for View<'_> {
    fn export(
        &mut self,
        metrics: metrics::ResourceMetrics,
    ) -> wasmtime::Result<Result<(), metrics::Error>> {
        let measured = measure::resource_metrics(metrics);
        self.granted.otel.hand_over(Signal::Metric(measured));
        Ok(Ok(()))
    }
}

impl logs::Host for View<'_> {
    fn on_emit(&mut self, data: logs::LogRecord) -> wasmtime::Result<()> {
        let own = || self.granted.otel.resource(&self.granted.component);
        let (resource, resource_schema) = data.resource.map_or_else(|| (own(), None), resource);
        let scope_schema = data
            .instrumentation_scope
            .as_ref()
            .and_then(|scope| scope.schema_url.clone());
        let sampled = data.trace_flags.unwrap_or(spans::TraceFlags::empty());
        let record = log_proto::LogRecord {
            time_unix_nano: maybe_nanoseconds(data.timestamp),
            observed_time_unix_nano: maybe_nanoseconds(data.observed_timestamp),
            severity_number: data.severity_number.map_or(0, i32::from),
            severity_text: data.severity_text.unwrap_or_default(),
            body: data.body.map(|body| value(&body)),
            attributes: attributes(data.attributes.unwrap_or_default()),
            flags: u32::from(sampled.contains(spans::TraceFlags::SAMPLED)),
            trace_id: identifier(&data.trace_id.unwrap_or_default()),
            span_id: identifier(&data.span_id.unwrap_or_default()),
            event_name: data.event_name.unwrap_or_default(),
            ..Default::default()
        };
        let logs = log_proto::ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![log_proto::ScopeLogs {
                scope: data.instrumentation_scope.map(scope),
                log_records: vec![record],
                schema_url: scope_schema.unwrap_or_default(),
            }],
            schema_url: resource_schema.unwrap_or_default(),
        };
        self.granted.otel.hand_over(Signal::Log(logs));
        Ok(())
    }
}

fn convert_span(span: spans::SpanData) -> trace_proto::Span {
    use trace_proto::span::SpanKind;
    use trace_proto::status::StatusCode;
    let kind = match span.span_kind {
        spans::SpanKind::Client => SpanKind::Client,
        spans::SpanKind::Server => SpanKind::Server,
        spans::SpanKind::Producer => SpanKind::Producer,
        spans::SpanKind::Consumer => SpanKind::Consumer,
        spans::SpanKind::Internal => SpanKind::Internal,
    };
    let (code, message) = match span.status {
        spans::Status::Unset => (StatusCode::Unset, String::new()),
        spans::Status::Ok => (StatusCode::Ok, String::new()),
        spans::Status::Error(message) => (StatusCode::Error, message),
    };
    let events = span
        .events
        .into_iter()
        .map(|event| trace_proto::span::Event {
            time_unix_nano: nanoseconds(event.time),
            name: event.name,
            attributes: attributes(event.attributes),
            ..Default::default()
        });
    let links = span.links.into_iter().map(|link| trace_proto::span::Link {
        trace_id: identifier(&link.span_context.trace_id),
        span_id: identifier(&link.span_context.span_id),
        flags: flags(&link.span_context),
        trace_state: trace_state(link.span_context.trace_state),
        attributes: attributes(link.attributes),
        ..Default::default()
    });
    trace_proto::Span {
        trace_id: identifier(&span.span_context.trace_id),
        span_id: identifier(&span.span_context.span_id),
        flags: flags(&span.span_context),
        trace_state: trace_state(span.span_context.trace_state),
        parent_span_id: identifier(&span.parent_span_id),
        name: span.name,
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.start_time),
        end_time_unix_nano: nanoseconds(span.end_time),
        attributes: attributes(span.attributes),
        dropped_attributes_count: span.dropped_attributes,
        events: events.collect(),
        dropped_events_count: span.dropped_events,
        links: links.collect(),
        dropped_links_count: span.dropped_links,
        status: Some(trace_proto::Status {
            message,
            code: code.into(),
        }),
    }
}

fn flags(context: &spans::SpanContext) -> u32 {
    u32::from(context.trace_flags.contains(spans::TraceFlags::SAMPLED))
}

fn trace_state(pairs: Vec<(String, String)>) -> String {
    let pairs = pairs.iter().map(|(key, value)| format!("{key}={value}"));
    pairs.collect::<Vec<_>>().join(",")
}
