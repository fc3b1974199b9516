//! Uses databases and brokers over their older interfaces: `/<interface>?at=<address>`, and for those of SQL
//! `&sql=<statement>`. What they answered is said in Rust's words.

#[path = "../../probe/src/query.rs"]
mod query;
mod redis;
mod sql;

use guest_http::respond_text;
use query::Query;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        inline: "
            package test:data;

            world imports {
                import fermyon:spin/redis;
                import fermyon:spin/postgres;
                import fermyon:spin/mysql;
                import fermyon:spin/redis@2.0.0;
                import fermyon:spin/postgres@2.0.0;
                import fermyon:spin/mysql@2.0.0;
                import fermyon:spin/mqtt@2.0.0;
                import spin:postgres/postgres@3.0.0;
                import spin:postgres/postgres@4.0.0;
            }
        ",
        path: [
            "../../../runtime/bindings/wit/fermyon-spin",
            "../../../runtime/bindings/wit/fermyon-spin-2.0.0",
            "../../../runtime/bindings/wit/spin-postgres-3.0.0",
            "wit",
        ],
        world: "test:data/imports",
        generate_all,
    });
}

struct Data;

wasip2::http::proxy::export!(Data);

impl wasip2::exports::http::incoming_handler::Guest for Data {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let query = Query::parse(&request.path_with_query().unwrap_or_default());
        let at = query.get("at").unwrap_or_default();
        let statement = query.get("sql").unwrap_or_default();
        let said = match query.path.as_str() {
            "/redis" => redis::unversioned(at),
            "/redis2" => redis::two(at),
            "/postgres" => sql::postgres(at, statement),
            "/postgres2" => sql::postgres2(at, statement),
            "/postgres3" => sql::postgres3(at, statement),
            "/postgres4" => sql::postgres4(at, statement),
            "/mysql" => sql::mysql(at, statement),
            "/mysql2" => sql::mysql2(at, statement),
            "/mqtt2" => mqtt(
                at,
                query.get("topic").unwrap_or_default(),
                query.number("alive", 30),
            ),
            _ => "?".to_owned(),
        };
        respond_text(out, 200, "text/plain", &said);
    }
}

/// A message with each quality of service.
fn mqtt(at: &str, topic: &str, alive: u64) -> String {
    use bindings::fermyon::spin2_0_0::mqtt::{Connection, Qos};
    let connection = match Connection::open(at, "", "", alive) {
        Ok(connection) => connection,
        Err(error) => return format!("{error:?}"),
    };
    let levels = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    let published = levels.map(|qos| connection.publish(topic, b"two", qos));
    format!("{published:?}")
}
