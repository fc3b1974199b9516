//! Does with stores and databases what the path of the request says, by the interface that its first
//! segment names, and answers with what it got, as Rust prints it.

mod key_value;
#[path = "../../probe/src/query.rs"]
#[expect(dead_code, reason = "nobody gives this guest numbers")]
mod query;
mod sqlite;

use guest_http::respond_text;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

use query::Query;

mod spin_1 {
    wit_bindgen::generate!({
        path: "../../../runtime/bindings/wit/fermyon-spin",
        inline: "
            package test:spin-one;
            world imports {
                import fermyon:spin/key-value;
                import fermyon:spin/sqlite;
            }
        ",
        world: "test:spin-one/imports",
        generate_all,
    });
}

mod spin_2 {
    wit_bindgen::generate!({
        path: "../../../runtime/bindings/wit/fermyon-spin-2.0.0",
        inline: "
            package test:spin-two;
            world imports {
                import fermyon:spin/key-value@2.0.0;
                import fermyon:spin/sqlite@2.0.0;
            }
        ",
        world: "test:spin-two/imports",
        generate_all,
    });
}

mod sqlite_3 {
    wit_bindgen::generate!({
        path: "../../../runtime/bindings/wit/spin-sqlite-3.0.0",
        inline: "
            package test:sqlite-three;
            world imports {
                import spin:sqlite/sqlite@3.0.0;
            }
        ",
        world: "test:sqlite-three/imports",
        generate_all,
    });
}

mod wasi_keyvalue {
    wit_bindgen::generate!({
        path: "../../../runtime/bindings/wit/wasi-keyvalue-0.2.0-draft2",
        inline: "
            package test:wasi;
            world imports {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
            }
        ",
        world: "test:wasi/imports",
        generate_all,
    });
}

struct Stores;

wasip2::http::proxy::export!(Stores);

impl wasip2::exports::http::incoming_handler::Guest for Stores {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let query = Query::parse(&request.path_with_query().unwrap_or_default());
        let (interface, act) = query
            .path
            .trim_start_matches('/')
            .split_once('/')
            .unwrap_or_default();
        let text = match interface {
            "key-value" => key_value::unversioned(act, &query),
            "key-value-2" => key_value::v2(act, &query),
            "wasi" => key_value::wasi(act, &query),
            "sqlite" => sqlite::unversioned(act, &query),
            "sqlite-2" => sqlite::v2(act, &query),
            "sqlite-3" => sqlite::v3(act, &query),
            _ => "there is no such interface".to_owned(),
        };
        respond_text(out, 200, "text/plain", &text);
    }
}
