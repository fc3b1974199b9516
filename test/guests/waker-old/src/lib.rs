//! Wakes by the packages that the triggers mqtt, cron and sqs had before version 3, and calls the component `record` each
//! time.

#![allow(clippy::too_many_arguments, reason = "the bindings are generated")]
#![expect(missing_docs, reason = "bindings are generated")]

use fermyon::spin_cron::cron_types;
use fermyon::spin_sqs::sqs_types;
use guest_http::Call;
use spin::mqtt_trigger::spin_mqtt_types as mqtt_types;

wit_bindgen::generate!({
    path: ["wit/mqtt", "wit/cron", "wit/sqs"],
    inline: "
        package catena:example;

        world waker {
          include spin:mqtt-trigger/trigger with { error as mqtt-error, metadata as mqtt-metadata }
          include fermyon:spin-cron/trigger@2.0.0 with { error as cron-error, metadata as cron-metadata }
          include fermyon:spin-sqs/trigger@2.0.0 with { error as sqs-error, message as sqs-message }
        }
    ",
    world: "catena:example/waker",
    generate_all,
});

struct Waker;

export!(Waker);

impl Guest for Waker {
    fn handle_message(
        message: Vec<u8>,
        metadata: mqtt_types::Metadata,
    ) -> Result<(), mqtt_types::Error> {
        record(&format!("/mqtt/{}", metadata.topic), &message).map_err(mqtt_types::Error::Other)
    }

    fn handle_cron_event(metadata: cron_types::Metadata) -> Result<(), cron_types::Error> {
        let at = metadata.timestamp.to_string();
        record("/cron", at.as_bytes()).map_err(cron_types::Error::Other)
    }

    fn handle_queue_message(
        message: sqs_types::Message,
    ) -> Result<MessageAction, sqs_types::Error> {
        let body = message.body.unwrap_or_default();
        record("/sqs", body.as_bytes()).map_err(sqs_types::Error::Other)?;
        Ok(MessageAction::Delete)
    }
}

/// Calls the component `record`: in memory, by its name.
fn record(path: &str, message: &[u8]) -> Result<(), String> {
    let url = format!("http://record.spin.internal{path}");
    Call::post(&url, message).map(drop)
}
