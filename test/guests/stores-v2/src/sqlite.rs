//! SQLite databases. `database` says which; each `sql` is run on one connection, and the last answer
//! counts. A `value` is a text for a parameter of the last statement; `types` is a statement with one
//! value of every type.

use crate::query::Query;
use crate::spin_1::fermyon::spin::sqlite as v1;
use crate::spin_2::fermyon::spin::sqlite as v2;
use crate::sqlite_3::spin::sqlite::sqlite as v3;

/// Runs the statements, with the values as one version of the interface has them.
macro_rules! run {
    ($version:ident, $act:expr, $query:expr, $execute:expr) => {{
        let mut statements: Vec<(&str, Vec<$version::Value>)> =
            $query.all("sql").map(|sql| (sql, Vec::new())).collect();
        let texts = $query
            .all("value")
            .map(|text| $version::Value::Text(text.to_owned()));
        if let Some((_, values)) = statements.last_mut() {
            values.extend(texts);
        }
        if $act == "types" {
            let values = vec![
                $version::Value::Integer(i64::MIN),
                $version::Value::Real(1.5),
                $version::Value::Text("text".to_owned()),
                $version::Value::Blob(vec![0, 255]),
                $version::Value::Null,
            ];
            statements.push(("SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e", values));
        }
        let mut answer = String::new();
        for (sql, values) in statements {
            answer = match $execute(sql, &values) {
                Ok(result) => {
                    let rows: Vec<_> = result.rows.into_iter().map(|row| row.values).collect();
                    format!("{:?} {rows:?}", result.columns)
                }
                Err(error) => format!("{error:?}"),
            };
        }
        answer
    }};
}

pub(crate) fn unversioned(act: &str, query: &Query) -> String {
    let connection = match v1::open(query.get("database").unwrap_or_default()) {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    if act == "made-up" {
        let made_up = v1::execute(connection + 1000, "SELECT 1", &[]);
        return format!("{:?}", made_up.map(|result| result.columns));
    }
    let answer = run!(v1, act, query, |sql, values: &[v1::Value]| v1::execute(
        connection, sql, values
    ));
    v1::close(connection);
    answer
}

pub(crate) fn v2(act: &str, query: &Query) -> String {
    let connection = match v2::Connection::open(query.get("database").unwrap_or_default()) {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    run!(v2, act, query, |sql, values: &[v2::Value]| connection
        .execute(sql, values))
}

pub(crate) fn v3(act: &str, query: &Query) -> String {
    let connection = match v3::Connection::open(query.get("database").unwrap_or_default()) {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let answer = run!(v3, act, query, |sql, values: &[v3::Value]| connection
        .execute(sql, values));
    match act {
        "changes" => format!(
            "{} {} {answer}",
            connection.last_insert_rowid(),
            connection.changes()
        ),
        _ => answer,
    }
}
