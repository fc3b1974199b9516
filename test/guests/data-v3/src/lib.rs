//! Uses databases and brokers by Spin's SDK of today: `/<interface>?at=<address>`, and for those of SQL
//! `&sql=<statement>`. What they answered is said in Rust's words.

mod parameters;
#[path = "../../probe/src/query.rs"]
mod query;

use query::Query;
use spin_sdk::http::{IntoResponse, Request};
use spin_sdk::{http_service, mqtt, mysql, pg, redis};

#[http_service]
async fn handle(request: Request) -> impl IntoResponse {
    let path = request.uri().path_and_query().map(|path| path.as_str());
    let query = Query::parse(path.unwrap_or_default());
    let at = query.get("at").unwrap_or_default();
    let statement = query.get("sql").unwrap_or_default();
    match query.path.as_str() {
        "/redis" => redis_functions(at).await,
        "/postgres" => postgres(at, statement).await,
        "/mysql" => mysql_statement(at, statement).await,
        "/mqtt" => {
            publish(
                at,
                query.get("topic").unwrap_or_default(),
                query.number("alive", 30),
            )
            .await
        }
        "/execute" => redis_command(at, statement).await,
        _ => "?".to_owned(),
    }
}

/// One command of Redis, split at blanks.
async fn redis_command(at: &str, command: &str) -> String {
    let mut words = command.split(' ');
    let name = words.next().unwrap_or_default();
    let arguments = words.map(|word| redis::RedisParameter::Binary(word.into()));
    match redis::Connection::open(at).await {
        Ok(redis) => format!(
            "{:?}",
            redis.execute(name, arguments.collect::<Vec<_>>()).await
        ),
        Err(error) => format!("{error:?}"),
    }
}

async fn redis_functions(at: &str) -> String {
    let redis = match redis::Connection::open(at).await {
        Ok(redis) => redis,
        Err(error) => return format!("{error:?}"),
    };
    let arguments = vec![redis::RedisParameter::Binary(b"v3".to_vec())];
    [
        format!("{:?}", redis.set("v3", b"7").await),
        format!("{:?}", redis.get("v3").await),
        format!("{:?}", redis.get("nothing").await),
        format!("{:?}", redis.incr("v3").await),
        format!("{:?}", redis.publish("channel", b"message").await),
        format!("{:?}", redis.sadd("v3-set", ["a", "b"]).await),
        format!("{:?}", redis.srem("v3-set", ["b"]).await),
        format!("{:?}", redis.smembers("v3-set").await),
        format!("{:?}", redis.execute("get", arguments).await),
        format!("{:?}", redis.incr("v3-set").await),
        format!("{:?}", redis.del(["v3", "v3-set"]).await),
    ]
    .join("\n")
}

async fn postgres(at: &str, statement: &str) -> String {
    let connection = match pg::Connection::open(at).await {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let values = parameters::postgres(statement);
    if !statement.starts_with("select") {
        return format!("{:?}", connection.execute(statement, values).await);
    }
    match connection.query(statement, values).await {
        Ok(answer) => {
            let (columns, mut rows, end) = answer.into_inner();
            let mut said = format!("{columns:?}\n");
            let mut count = 0;
            while let Some(row) = rows.next().await {
                count += 1;
                if count < 10 {
                    said += &format!("{row:?}\n");
                }
            }
            said + &format!("{count} rows, {:?}", end.await)
        }
        Err(error) => format!("{error:?}"),
    }
}

async fn mysql_statement(at: &str, statement: &str) -> String {
    let connection = match mysql::Connection::open(at).await {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let values = parameters::mysql(statement);
    if !statement.starts_with("select") {
        return format!("{:?}", connection.execute(statement, values).await);
    }
    match connection.query(statement, values).await {
        Ok(answer) => {
            let (columns, mut rows, end) = answer.into_inner();
            let mut said = format!("{columns:?}\n");
            let mut count = 0;
            while let Some(row) = rows.next().await {
                count += 1;
                if count < 10 {
                    said += &format!("{row:?}\n");
                }
            }
            said + &format!("{count} rows, {:?}", end.await)
        }
        Err(error) => format!("{error:?}"),
    }
}

/// A message with each quality of service.
async fn publish(at: &str, topic: &str, alive: u64) -> String {
    let connection = match mqtt::Connection::open(at, "", "", alive).await {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let mut said = Vec::new();
    for qos in [
        mqtt::Qos::AtMostOnce,
        mqtt::Qos::AtLeastOnce,
        mqtt::Qos::ExactlyOnce,
    ] {
        said.push(connection.publish(topic, b"three".to_vec(), qos).await);
    }
    format!("{said:?}")
}
