//! Does with stores and databases what the path of the request says, by the current Spin SDK, and
//! answers with what it got, as Rust prints it.

#[path = "../../probe/src/query.rs"]
#[expect(dead_code, reason = "nobody gives this guest numbers")]
mod query;

use std::collections::BTreeSet;

use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::http_service;
use spin_sdk::key_value::Store;
use spin_sdk::sqlite::{Connection, Value};

use query::Query;

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let path = request.uri().path_and_query().map(|path| path.as_str());
    let query = Query::parse(path.unwrap_or_default());
    let path = query.path.trim_start_matches('/');
    match path.split_once('/').unwrap_or_default() {
        ("key-value-3", act) => key_value(act, &query).await,
        ("sqlite-3.1", act) => sqlite(act, &query).await,
        _ => "there is no such interface".to_owned(),
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("the value is text")
}

async fn key_value(act: &str, query: &Query) -> String {
    let one = |name| query.get(name).unwrap_or_default();
    let key = one("key");
    let store = match Store::open(one("store")).await {
        Ok(store) => store,
        Err(error) => return format!("{error:?}"),
    };
    match act {
        "get" => format!("{:?}", store.get(key).await.map(|value| value.map(text))),
        "set" => format!("{:?}", store.set(key, one("value")).await),
        "delete" => format!("{:?}", store.delete(key).await),
        "exists" => format!("{:?}", store.exists(key).await),
        "keys" => format!("{:?}", store.get_keys().await.collect().await),
        // More keys than one page of the stream has.
        "count" => {
            for number in 0..2500 {
                if let Err(error) = store.set(format!("key-{number}"), "").await {
                    return format!("{error:?}");
                }
            }
            let keys = store.get_keys().await.collect().await;
            // A stream may give a key twice.
            let keys = keys.map(|keys| keys.into_iter().collect::<BTreeSet<_>>());
            format!("{:?}", keys.map(|keys| keys.len()))
        }
        _ => "there is no such act".to_owned(),
    }
}

/// Runs each `sql` on one connection; the last answer counts.
async fn sqlite(act: &str, query: &Query) -> String {
    let connection = match Connection::open(query.get("database").unwrap_or_default()).await {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let mut statements: Vec<(&str, Vec<Value>)> =
        query.all("sql").map(|sql| (sql, Vec::new())).collect();
    if act == "types" {
        let values = vec![
            Value::Integer(i64::MIN),
            Value::Real(1.5),
            Value::Text("text".to_owned()),
            Value::Blob(vec![0, 255]),
            Value::Null,
        ];
        statements.push(("SELECT ? AS a, ? AS b, ? AS c, ? AS d, ? AS e", values));
    }
    let mut answer = String::new();
    for (sql, values) in statements {
        answer = match connection.execute(sql, values).await {
            Ok(result) => {
                let columns = result.columns().to_vec();
                let rows = result.collect().await.map(|rows| {
                    let rows = rows.into_iter();
                    rows.map(|row| row.values).collect::<Vec<_>>()
                });
                match rows {
                    Ok(rows) => format!("{columns:?} {rows:?}"),
                    Err(error) => format!("{error:?}"),
                }
            }
            Err(error) => format!("{error:?}"),
        };
    }
    match act {
        "changes" => format!(
            "{} {} {answer}",
            connection.last_insert_rowid().await,
            connection.changes().await
        ),
        _ => answer,
    }
}
