//! Parameters of every type, as many as a statement has places for.

use spin_sdk::{mysql, pg};

pub(crate) fn postgres(statement: &str) -> Vec<pg::ParameterValue> {
    use pg::ParameterValue as P;
    use pg::RangeBoundKind::{Exclusive, Inclusive};
    let all = vec![
        P::Boolean(true),
        P::Int8(-1),
        P::Int16(-2),
        P::Int32(-3),
        P::Int64(-4),
        P::Floating32(1.5),
        P::Floating64(2.5),
        P::Str("text".to_owned()),
        P::Binary(vec![0, 255]),
        P::Date((2024, 2, 29)),
        P::Time((1, 2, 3, 4000)),
        P::Datetime((2024, 2, 29, 1, 2, 3, 4000)),
        P::Timestamp(1_700_000_000),
        P::Uuid("0190c2e0-0000-7000-8000-000000000001".to_owned()),
        P::Jsonb(b"{\"a\": 1}".to_vec()),
        P::Decimal("-12345.6789".to_owned()),
        P::RangeInt32((Some((1, Inclusive)), Some((5, Exclusive)))),
        P::RangeInt64((Some((1, Inclusive)), None)),
        P::RangeDecimal((None, Some(("1.5".to_owned(), Inclusive)))),
        P::ArrayInt32(vec![Some(1), None]),
        P::ArrayInt64(vec![Some(2), None]),
        P::ArrayDecimal(vec![Some("3.5".to_owned()), None]),
        P::ArrayStr(vec![Some("x".to_owned()), None]),
        P::Interval(pg::Interval {
            micros: 1,
            days: 2,
            months: 3,
        }),
        P::DbNull,
    ];
    let places = statement.matches('$').count();
    all.into_iter().take(places).collect()
}

pub(crate) fn mysql(statement: &str) -> Vec<mysql::ParameterValue> {
    use mysql::ParameterValue as P;
    let all = vec![
        P::Boolean(true),
        P::Int8(-1),
        P::Int16(-2),
        P::Int32(-3),
        P::Int64(-4),
        P::Uint8(1),
        P::Uint16(2),
        P::Uint32(3),
        P::Uint64(4),
        P::Floating32(1.5),
        P::Floating64(2.5),
        P::Str("text".to_owned()),
        P::Binary(vec![0, 255]),
        P::DbNull,
    ];
    let places = statement.matches('?').count();
    all.into_iter().take(places).collect()
}
