//! `make demo`: one container with six triggers, against real servers that it starts: each of them wakes a component,
//! and each of these calls the same one, in memory. It takes the machine's containerd, or starts one where none runs,
//! and removes what it made.

#![expect(clippy::print_stdout, reason = "showing is its purpose")]

use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use catena_test::Backing;
use catena_test::broker::{publish, publish_mqtt, sqs};
use catena_test::containerd::Containerd;
use catena_test::{Client, containerd, workspace};
use serde_json::json;

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let (redis, mqtt, queues) = (Backing::redis()?, Backing::mosquitto()?, Backing::sqs()?);
    println!(
        "Redis listens on {}, mosquitto on {},",
        redis.address(),
        mqtt.address()
    );
    println!(
        "and on {} what speaks the API of Amazon SQS.\n",
        queues.address()
    );
    let queue = sqs(
        queues.address(),
        "CreateQueue",
        &json!({ "QueueName": "events" }),
    )?;
    let queue = queue["QueueUrl"].as_str().context("a queue has a URL")?;

    let daemon = Containerd::running_or_started()?;
    let image = daemon.import(&workspace::root().join("target/images/all-triggers-rootfs.tar"))?;
    println!(
        "$ ctr run --runtime {} --net-host --env .. {image} demo",
        daemon.runtime()
    );
    let container = daemon.container(&image, "demo");
    let mut run = container
        .env("SPIN_HTTP_LISTEN_ADDR", "127.0.0.1:0")
        .env(
            "SPIN_VARIABLE_REDIS",
            &format!("redis://{}", redis.address()),
        )
        .env("SPIN_VARIABLE_MQTT", &format!("mqtt://{}", mqtt.address()))
        .env("SPIN_VARIABLE_QUEUE", queue)
        .env("SPIN_VARIABLE_TIMES", "*/2 * * * * * *")
        .env("AWS_ENDPOINT_URL", &format!("http://{}", queues.address()))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .attach()?;
    let shown = |what: &str, line: String| println!("{what:<8} {line}");
    shown("command", run.stdout.wait_for("recorded /command").await?);
    let redis_ready = format!("redis at {} brings", redis.address());
    let mqtt_ready = format!("mqtt at {} brings", mqtt.address());
    for ready in [&*redis_ready, &mqtt_ready, "is asked for messages"] {
        run.stderr.wait_for(ready).await?;
    }
    let task = containerd::Task::find(&daemon, "demo")?;
    Client::http1(task.address()?).await?.get("/").await?;
    shown("http", run.stdout.wait_for("recorded /http").await?);
    publish(redis.address(), "events", "by Redis")?;
    shown("redis", run.stdout.wait_for("recorded /redis").await?);
    publish_mqtt(mqtt.address(), "events/one", "by MQTT")?;
    shown("mqtt", run.stdout.wait_for("recorded /mqtt").await?);
    let message = json!({ "QueueUrl": queue, "MessageBody": "by SQS" });
    sqs(queues.address(), "SendMessage", &message)?;
    shown("sqs", run.stdout.wait_for("recorded /sqs").await?);
    shown("cron", run.stdout.wait_for("recorded /cron").await?);

    println!("\n$ ctr tasks kill --signal SIGTERM demo");
    task.kill("SIGTERM")?;
    let code = run.ended().await?;
    println!("the task drained and exited with {code}");
    ensure!(code == 0, "it should exit with 0");
    daemon.nothing_is_left_of("demo")?;
    println!("Nothing is left behind.");
    Ok(ExitCode::SUCCESS)
}
