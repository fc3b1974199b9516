//! Wakes for messages of Redis, by the Spin SDK, and for those of MQTT and SQS and for the clock by the
//! same asynchronous exports; calls the component `record` each time. A message `fail ..` is recorded
//! and fails.

#![allow(clippy::too_many_arguments, reason = "the bindings are generated")]
#![expect(missing_docs, reason = "bindings are generated")]

use spin::cron::cron_types;
use spin::mqtt_trigger::spin_mqtt_types as mqtt_types;
use spin::sqs::sqs_types;
use spin_sdk::http::Request;
use spin_sdk::redis_subscriber;

spin_sdk::wit_bindgen::generate!({
    path: "wit",
    world: "test:waker/waker",
    runtime_path: "::spin_sdk::wit_bindgen::rt",
    generate_all,
});

struct Waker;

export!(Waker);

#[redis_subscriber]
async fn on_message(message: Vec<u8>) -> Result<(), String> {
    take("/redis", message).await
}

impl Guest for Waker {
    async fn handle_message(
        message: Vec<u8>,
        metadata: mqtt_types::Metadata,
    ) -> Result<(), mqtt_types::Error> {
        let path = format!("/mqtt/{}", metadata.topic);
        take(&path, message).await.map_err(mqtt_types::Error::Other)
    }

    async fn handle_cron_event(metadata: cron_types::Metadata) -> Result<(), cron_types::Error> {
        let at = metadata.timestamp.to_string().into_bytes();
        take("/cron", at).await.map_err(cron_types::Error::Other)
    }

    async fn handle_queue_message(
        message: sqs_types::Message,
    ) -> Result<MessageAction, sqs_types::Error> {
        let body = message.body.unwrap_or_default().into_bytes();
        take("/sqs", body).await.map_err(sqs_types::Error::Other)?;
        Ok(MessageAction::Delete)
    }
}

async fn take(path: &str, message: Vec<u8>) -> Result<(), String> {
    let fails = message.starts_with(b"fail");
    let url = format!("http://record.spin.internal{path}");
    let request = Request::post(url).body(String::from_utf8_lossy(&message).into_owned());
    let request = request.map_err(|error| error.to_string())?;
    let response = spin_sdk::http::send(request).await;
    let response = response.map_err(|error| format!("{error:?}"))?;
    match response.status().as_u16() {
        200 if !fails => Ok(()),
        200 => Err("told to fail".to_owned()),
        status => Err(format!("record answers {status}")),
    }
}
