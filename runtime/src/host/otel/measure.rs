//! Metrics of guests, as the collector takes them.

use catena_bindings::otel::metrics::{self, MetricData, MetricNumber, Temporality};
use catena_bindings::otel::types::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{self as proto, exemplar, number_data_point};

use super::value::{attributes, identifier, maybe_nanoseconds, nanoseconds, resource, scope};

pub(super) fn resource_metrics(metrics: metrics::ResourceMetrics) -> proto::ResourceMetrics {
    let (resource, schema_url) = resource(metrics.resource);
    let scopes = metrics.scope_metrics.into_iter().map(|one| {
        let schema_url = one.scope.schema_url.clone().unwrap_or_default();
        proto::ScopeMetrics {
            scope: Some(scope(one.scope)),
            metrics: one.metrics.into_iter().map(metric).collect(),
            schema_url,
        }
    });
    proto::ResourceMetrics {
        resource: Some(resource),
        scope_metrics: scopes.collect(),
        schema_url: schema_url.unwrap_or_default(),
    }
}

fn metric(metric: metrics::Metric) -> proto::Metric {
    use proto::metric::Data;
    let data = match metric.data {
        MetricData::F64Gauge(one) | MetricData::U64Gauge(one) | MetricData::S64Gauge(one) => {
            Data::Gauge(gauge(one))
        }
        MetricData::F64Sum(one) | MetricData::U64Sum(one) | MetricData::S64Sum(one) => {
            Data::Sum(sum(one))
        }
        MetricData::F64Histogram(one)
        | MetricData::U64Histogram(one)
        | MetricData::S64Histogram(one) => Data::Histogram(histogram(one)),
        MetricData::F64ExponentialHistogram(one)
        | MetricData::U64ExponentialHistogram(one)
        | MetricData::S64ExponentialHistogram(one) => {
            Data::ExponentialHistogram(exponential_histogram(one))
        }
    };
    proto::Metric {
        name: metric.name,
        description: metric.description,
        unit: metric.unit,
        data: Some(data),
        ..Default::default()
    }
}

fn gauge(gauge: metrics::Gauge) -> proto::Gauge {
    let (start, time) = (maybe_nanoseconds(gauge.start_time), nanoseconds(gauge.time));
    let points = gauge.data_points.into_iter();
    let points = points.map(|one| point(start, time, one.attributes, one.exemplars, one.value));
    proto::Gauge {
        data_points: points.collect(),
    }
}

fn sum(sum: metrics::Sum) -> proto::Sum {
    let (start, time) = (nanoseconds(sum.start_time), nanoseconds(sum.time));
    let points = sum.data_points.into_iter();
    let points = points.map(|one| point(start, time, one.attributes, one.exemplars, one.value));
    proto::Sum {
        data_points: points.collect(),
        aggregation_temporality: temporality(sum.temporality),
        is_monotonic: sum.is_monotonic,
    }
}

fn histogram(histogram: metrics::Histogram) -> proto::Histogram {
    let (start, time) = (
        nanoseconds(histogram.start_time),
        nanoseconds(histogram.time),
    );
    let points = histogram.data_points.into_iter();
    let points = points.map(|point| proto::HistogramDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(float(point.sum)),
        bucket_counts: point.bucket_counts,
        explicit_bounds: point.bounds,
        exemplars: point.exemplars.into_iter().map(exemplar).collect(),
        min: point.min.map(float),
        max: point.max.map(float),
        ..Default::default()
    });
    proto::Histogram {
        data_points: points.collect(),
        aggregation_temporality: temporality(histogram.temporality),
    }
}

fn exponential_histogram(histogram: metrics::ExponentialHistogram) -> proto::ExponentialHistogram {
    let (start, time) = (
        nanoseconds(histogram.start_time),
        nanoseconds(histogram.time),
    );
    let points = histogram.data_points.into_iter();
    let points = points.map(|point| proto::ExponentialHistogramDataPoint {
        attributes: attributes(point.attributes),
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: point.count,
        sum: Some(float(point.sum)),
        scale: i32::from(point.scale),
        zero_count: point.zero_count,
        positive: Some(buckets(point.positive_bucket)),
        negative: Some(buckets(point.negative_bucket)),
        exemplars: point.exemplars.into_iter().map(exemplar).collect(),
        min: point.min.map(float),
        max: point.max.map(float),
        zero_threshold: point.zero_threshold,
        ..Default::default()
    });
    proto::ExponentialHistogram {
        data_points: points.collect(),
        aggregation_temporality: temporality(histogram.temporality),
    }
}

fn buckets(bucket: metrics::ExponentialBucket) -> Buckets {
    Buckets {
        offset: bucket.offset,
        bucket_counts: bucket.counts,
    }
}

fn point(
    start: u64,
    time: u64,
    own: Vec<KeyValue>,
    exemplars: Vec<metrics::Exemplar>,
    value: MetricNumber,
) -> proto::NumberDataPoint {
    proto::NumberDataPoint {
        attributes: attributes(own),
        start_time_unix_nano: start,
        time_unix_nano: time,
        exemplars: exemplars.into_iter().map(exemplar).collect(),
        value: Some(number(value)),
        ..Default::default()
    }
}

fn exemplar(one: metrics::Exemplar) -> proto::Exemplar {
    proto::Exemplar {
        filtered_attributes: attributes(one.filtered_attributes),
        time_unix_nano: nanoseconds(one.time),
        span_id: identifier(&one.span_id),
        trace_id: identifier(&one.trace_id),
        value: Some(match number(one.value) {
            number_data_point::Value::AsDouble(value) => exemplar::Value::AsDouble(value),
            number_data_point::Value::AsInt(value) => exemplar::Value::AsInt(value),
        }),
    }
}

/// The collector has no unsigned numbers.
fn number(number: MetricNumber) -> number_data_point::Value {
    match number {
        MetricNumber::F64(value) => number_data_point::Value::AsDouble(value),
        MetricNumber::S64(value) => number_data_point::Value::AsInt(value),
        MetricNumber::U64(value) => {
            number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX))
        }
    }
}

fn float(number: MetricNumber) -> f64 {
    match number {
        MetricNumber::F64(value) => value,
        MetricNumber::S64(value) => value as f64,
        MetricNumber::U64(value) => value as f64,
    }
}

fn temporality(temporality: Temporality) -> i32 {
    use proto::AggregationTemporality as Proto;
    match temporality {
        Temporality::Cumulative => Proto::Cumulative.into(),
        // A way to save memory, which reports changes.
        Temporality::Delta | Temporality::LowMemory => Proto::Delta.into(),
    }
}
