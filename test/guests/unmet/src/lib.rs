//! A sound component that imports what no host has: an application with it has to be refused.

use guest_http::respond_text;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

mod bindings {
    #![allow(missing_docs, reason = "made by a macro")]
    wit_bindgen::generate!({
        inline: "
            package example:missing@1.0.0;

            interface thing {
                act: func();
            }

            world imports {
                import thing;
            }
        ",
    });
}

struct Unmet;

wasip2::http::proxy::export!(Unmet);

impl wasip2::exports::http::incoming_handler::Guest for Unmet {
    fn handle(_request: IncomingRequest, out: ResponseOutparam) {
        bindings::example::missing::thing::act();
        respond_text(out, 200, "text/plain", "it is there\n");
    }
}
