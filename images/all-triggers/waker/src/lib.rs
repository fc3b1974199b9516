//! Wakes for messages of Redis, MQTT and SQS and for the clock, and calls the component `record` each
//! time. A message `fail ..` is recorded and fails; `slow ..` is recorded, takes a second, and is
//! recorded again.

#![allow(clippy::too_many_arguments, reason = "the bindings are generated")]
#![expect(missing_docs, reason = "bindings are generated")]

use std::thread::sleep;
use std::time::Duration;

use exports::fermyon::spin::inbound_redis;
use fermyon::spin::redis_types;
use guest_http::Call;
use spin::cron::cron_types;
use spin::mqtt_trigger::spin_mqtt_types as mqtt_types;
use spin::sqs::sqs_types;

wit_bindgen::generate!({
    path: [
        "../../../runtime/bindings/wit/fermyon-spin-inbound-redis",
        "../../../runtime/bindings/wit/spin-mqtt-trigger-3.0.0",
        "../../../runtime/bindings/wit/spin-cron-3.0.0",
        "../../../runtime/bindings/wit/spin-sqs-3.0.0",
    ],
    inline: "
        package catena:example;

        world waker {
          include fermyon:spin/trigger;
          include spin:mqtt-trigger/trigger@3.0.0 with { error as mqtt-error, metadata as mqtt-metadata }
          include spin:cron/trigger@3.0.0 with { error as cron-error, metadata as cron-metadata }
          include spin:sqs/trigger@3.0.0 with { error as sqs-error, message as sqs-message }
        }
    ",
    world: "catena:example/waker",
    generate_all,
});

struct Waker;

export!(Waker);

impl inbound_redis::Guest for Waker {
    fn handle_message(message: Vec<u8>) -> Result<(), redis_types::Error> {
        take("/redis", &message).map_err(|_| redis_types::Error::Error)
    }
}

impl Guest for Waker {
    fn handle_message(
        message: Vec<u8>,
        metadata: mqtt_types::Metadata,
    ) -> Result<(), mqtt_types::Error> {
        take(&format!("/mqtt/{}", metadata.topic), &message).map_err(mqtt_types::Error::Other)
    }

    fn handle_cron_event(metadata: cron_types::Metadata) -> Result<(), cron_types::Error> {
        let at = metadata.timestamp.to_string();
        take("/cron", at.as_bytes()).map_err(cron_types::Error::Other)
    }

    fn handle_queue_message(
        message: sqs_types::Message,
    ) -> Result<MessageAction, sqs_types::Error> {
        let names = message.message_attributes.iter();
        let mut names: Vec<_> = names.map(|one| one.name.as_str()).collect();
        names.sort_unstable();
        let body = format!("{} {}", message.body.unwrap_or_default(), names.join(" "));
        take("/sqs", body.as_bytes()).map_err(sqs_types::Error::Other)?;
        if body.starts_with("leave") {
            return Ok(MessageAction::Leave);
        }
        Ok(MessageAction::Delete)
    }
}

fn take(path: &str, message: &[u8]) -> Result<(), String> {
    record(path, message)?;
    if message.starts_with(b"fail") {
        return Err("told to fail".to_owned());
    }
    if message.starts_with(b"slow") {
        sleep(Duration::from_secs(1));
        record(path, &[message, b" done"].concat())?;
    }
    Ok(())
}

/// Calls the component `record`: in memory, by its name.
fn record(path: &str, message: &[u8]) -> Result<(), String> {
    let url = format!("http://record.spin.internal{path}");
    match Call::post(&url, message)?.status() {
        200 => Ok(()),
        status => Err(format!("record answers {status}")),
    }
}
