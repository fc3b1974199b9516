//! A statement over each interface. Where it has a place for them, it gets parameters of every type: `$1` or `?`
//! marks say how many.

use crate::bindings::fermyon::{spin, spin2_0_0};
use crate::bindings::spin as later;

/// What a statement answered: rows where it begins with `select`, else what was done.
macro_rules! answer {
    ($statement:ident, $query:expr, $execute:expr) => {{
        if $statement.starts_with("select") {
            match $query {
                Ok(set) => format!("{:?}\n{:?}", set.columns, set.rows),
                Err(error) => format!("{error:?}"),
            }
        } else {
            format!("{:?}", $execute)
        }
    }};
}

/// As many parameters as there are places.
macro_rules! parameters {
    ($statement:ident, $($module:ident)::+) => {{
        use $($module)::+::ParameterValue as P;
        let all = vec![
            P::Boolean(true),
            P::Int16(-2),
            P::Int32(-3),
            P::Int64(-4),
            P::Floating32(1.5),
            P::Floating64(2.5),
            P::Str("text".to_owned()),
            P::Binary(vec![0, 255]),
            P::DbNull,
        ];
        let places = $statement.matches(['?', '$']).count();
        all.into_iter().take(places).collect::<Vec<_>>()
    }};
}

pub(crate) fn postgres(at: &str, statement: &str) -> String {
    use spin::postgres;
    let values = parameters!(statement, spin::rdbms_types);
    answer!(
        statement,
        postgres::query(at, statement, &values),
        postgres::execute(at, statement, &values)
    )
}

pub(crate) fn mysql(at: &str, statement: &str) -> String {
    use spin::mysql;
    let values = parameters!(statement, spin::rdbms_types);
    answer!(
        statement,
        mysql::query(at, statement, &values),
        mysql::execute(at, statement, &values)
    )
}

/// The same for interfaces with handles.
macro_rules! handles {
    ($name:ident, $types:ident, $($module:ident)::+) => {
        pub(crate) fn $name(at: &str, statement: &str) -> String {
            use $($module)::+::Connection;
            let values = parameters!(statement, $types);
            match Connection::open(at) {
                Ok(one) => answer!(
                    statement,
                    one.query(statement, &values),
                    one.execute(statement, &values)
                ),
                Err(error) => format!("{error:?}"),
            }
        }
    };
}

use later::postgres3_0_0::postgres as three;
use later::postgres4_0_0::postgres as four;
use spin2_0_0::rdbms_types as two;

handles!(postgres2, two, spin2_0_0::postgres);
handles!(mysql2, two, spin2_0_0::mysql);
handles!(postgres3, three, three);
handles!(postgres4, four, four);
