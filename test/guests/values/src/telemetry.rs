//! A span, a measurement and a log record, handed to the host.

use crate::otel::wasi::clocks::wall_clock::Datetime;
use crate::otel::wasi::otel::{logs, metrics, tracing, types};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Reports all three under this name.
pub(crate) fn report(name: &str) -> String {
    let time = Datetime {
        seconds: 7,
        nanoseconds: 9,
    };
    let scope = || types::InstrumentationScope {
        name: "values".to_owned(),
        version: None,
        schema_url: None,
        attributes: Vec::new(),
    };
    let attributes = || {
        vec![types::KeyValue {
            key: "answer".to_owned(),
            value: "42".to_owned(),
        }]
    };
    let context = tracing::SpanContext {
        trace_id: TRACE.to_owned(),
        span_id: SPAN.to_owned(),
        trace_flags: tracing::TraceFlags::SAMPLED,
        is_remote: false,
        trace_state: Vec::new(),
    };
    tracing::on_start(&context);
    tracing::on_end(&tracing::SpanData {
        span_context: context,
        parent_span_id: tracing::outer_span_context().span_id,
        span_kind: tracing::SpanKind::Server,
        name: name.to_owned(),
        start_time: time,
        end_time: time,
        attributes: attributes(),
        events: Vec::new(),
        links: Vec::new(),
        status: tracing::Status::Error("on purpose".to_owned()),
        instrumentation_scope: scope(),
        dropped_attributes: 0,
        dropped_events: 0,
        dropped_links: 0,
    });
    let exported = metrics::export(&metrics::ResourceMetrics {
        resource: types::Resource {
            attributes: attributes(),
            schema_url: None,
        },
        scope_metrics: vec![metrics::ScopeMetrics {
            scope: scope(),
            metrics: vec![metrics::Metric {
                name: name.to_owned(),
                description: String::new(),
                unit: "1".to_owned(),
                data: metrics::MetricData::U64Sum(metrics::Sum {
                    data_points: vec![metrics::SumDataPoint {
                        attributes: attributes(),
                        value: metrics::MetricNumber::U64(3),
                        exemplars: Vec::new(),
                    }],
                    start_time: time,
                    time,
                    temporality: metrics::Temporality::Cumulative,
                    is_monotonic: true,
                }),
            }],
        }],
    });
    logs::on_emit(&logs::LogRecord {
        timestamp: Some(time),
        observed_timestamp: None,
        severity_text: Some("INFO".to_owned()),
        severity_number: Some(9),
        body: Some(format!("{name:?}")),
        attributes: Some(attributes()),
        event_name: None,
        resource: None,
        instrumentation_scope: None,
        trace_id: Some(TRACE.to_owned()),
        span_id: Some(SPAN.to_owned()),
        trace_flags: None,
    });
    format!("{exported:?}")
}
