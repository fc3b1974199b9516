//! Triggers that bring messages and ticks, against real servers: messages reach guests, guests chain, servers go and
//! come back, and what is in flight is finished.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use catena_test::broker::{publish, publish_mqtt, sqs};
use catena_test::containerd::Task;
use catena_test::output::Lines;
use catena_test::pack::{Form, Packed};
use catena_test::{Backing, Catena, Containerd};
use nix::sys::signal::Signal;
use serde_json::json;

fn redis_url(redis: &Backing) -> String {
    format!("redis://{}", redis.address())
}

fn mqtt_url(mqtt: &Backing) -> String {
    format!("mqtt://{}", mqtt.address())
}

/// Waits until a part has been printed that often.
async fn times(output: &Lines, part: &str, count: usize) -> Result<()> {
    let waiting = async {
        while output.count(part) < count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = catena_test::output::PATIENCE;
    let waited = tokio::time::timeout(limit, waiting).await;
    waited.with_context(|| format!("not {count} times {part:?} in:\n{}", output.text()))
}

#[tokio::test]
async fn a_message_of_redis_reaches_a_guest_which_chains() -> Result<()> {
    for app in ["triggers", "triggers-p3"] {
        let redis = Backing::redis()?;
        let run = Catena::app(app)?.variable("redis", &redis_url(&redis));
        let app = run.variable("channel", "news").start().await?;
        app.output()
            .wait_for("brings messages of news, other")
            .await?;
        assert_eq!(publish(redis.address(), "news", "hello")?, 1);
        app.output().wait_for("recorded /redis hello").await?;
        publish(redis.address(), "other", "there")?;
        app.output().wait_for("recorded /redis there").await?;
        publish(redis.address(), "news", "fail one")?;
        app.output().wait_for("it returned the error").await?;
        publish(redis.address(), "news", "after")?;
        app.output().wait_for("recorded /redis after").await?;
        times(app.output(), "recorded /redis fail one", 1).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_message_of_mqtt_reaches_a_guest_which_chains() -> Result<()> {
    for app in ["triggers", "triggers-p3"] {
        let mqtt = Backing::mosquitto()?;
        let run = Catena::app(app)?.variable("mqtt", &mqtt_url(&mqtt));
        let app = run.start().await?;
        app.output().wait_for("brings messages of news/+").await?;
        app.output().wait_for("brings messages of once/+").await?;
        publish_mqtt(mqtt.address(), "news/a", "hello")?;
        app.output().wait_for("recorded /mqtt/news/a hello").await?;
        publish_mqtt(mqtt.address(), "once/b", "there")?;
        app.output().wait_for("recorded /mqtt/once/b there").await?;
    }
    Ok(())
}

/// Also those that came while the app was not there: its session stays.
#[tokio::test]
async fn mqtt_keeps_messages_while_the_app_is_away() -> Result<()> {
    let mqtt = Backing::mosquitto()?;
    let run =
        || Ok::<_, anyhow::Error>(Catena::app("triggers")?.variable("mqtt", &mqtt_url(&mqtt)));
    let mut app = run()?.start().await?;
    app.output().wait_for("brings messages of news/+").await?;
    app.output().wait_for("brings messages of once/+").await?;
    publish_mqtt(mqtt.address(), "once/a", "before")?;
    app.output()
        .wait_for("recorded /mqtt/once/a before")
        .await?;
    assert!(app.stop().await?.success());
    for number in 0..5 {
        publish_mqtt(mqtt.address(), "news/a", &format!("away {number}"))?;
        publish_mqtt(mqtt.address(), "once/a", &format!("away {number}"))?;
    }
    let app = run()?.start().await?;
    for number in 0..5 {
        app.output()
            .wait_for(&format!("recorded /mqtt/news/a away {number}"))
            .await?;
        app.output()
            .wait_for(&format!("recorded /mqtt/once/a away {number}"))
            .await?;
    }
    publish_mqtt(mqtt.address(), "news/a", "after")?;
    app.output().wait_for("recorded /mqtt/news/a after").await?;
    assert_eq!(app.output().count("before"), 0, "it was acknowledged");
    Ok(())
}

/// A guest that fails gets the message again, three times in all; then others have their turn.
#[tokio::test]
async fn a_failing_guest_gets_a_message_of_mqtt_again() -> Result<()> {
    let mqtt = Backing::mosquitto()?;
    let run = Catena::app("triggers")?.variable("mqtt", &mqtt_url(&mqtt));
    let mut app = run.start().await?;
    app.output().wait_for("brings messages of news/+").await?;
    publish_mqtt(mqtt.address(), "news/a", "fail it")?;
    app.output()
        .wait_for("is given up, since its component failed 3 times")
        .await?;
    times(app.output(), "recorded /mqtt/news/a fail it", 3).await?;
    // One whose turn to be tried again has not come is left with the server.
    publish_mqtt(mqtt.address(), "news/a", "fail later")?;
    app.output()
        .wait_for("recorded /mqtt/news/a fail later")
        .await?;
    times(app.output(), "it returned the error", 4).await?;
    assert!(app.stop().await?.success());
    let run = Catena::app("triggers")?.variable("mqtt", &mqtt_url(&mqtt));
    let app = run.start().await?;
    app.output()
        .wait_for("recorded /mqtt/news/a fail later")
        .await?;
    Ok(())
}

/// The loss is said once, and so is the return; the app answers all the while. Servers that are not there at the
/// start are the same.
#[tokio::test]
async fn a_server_that_is_lost_comes_back() -> Result<()> {
    let (mut redis, mut mqtt) = (Backing::redis()?, Backing::mosquitto()?);
    redis.stop();
    mqtt.stop();
    let run = Catena::app("triggers")?.variable("redis", &redis_url(&redis));
    let app = run.variable("mqtt", &mqtt_url(&mqtt)).start().await?;
    for round in 1..3 {
        let (redis_at, mqtt_at) = (redis.address(), mqtt.address());
        times(
            app.output(),
            &format!("redis at {redis_at} brings nothing"),
            round,
        )
        .await?;
        times(
            app.output(),
            &format!("mqtt at {mqtt_at} brings nothing"),
            2 * round,
        )
        .await?;
        assert_eq!(app.get("/there").await?.status.as_u16(), 200);
        redis.start()?;
        mqtt.start()?;
        times(
            app.output(),
            &format!("redis at {redis_at} is there again"),
            round,
        )
        .await?;
        times(
            app.output(),
            &format!("mqtt at {mqtt_at} is there again"),
            2 * round,
        )
        .await?;
        publish(redis_at, "channel", &format!("hello {round}"))?;
        publish_mqtt(mqtt_at, "news/a", &format!("hello {round}"))?;
        app.output()
            .wait_for(&format!("recorded /redis hello {round}"))
            .await?;
        app.output()
            .wait_for(&format!("recorded /mqtt/news/a hello {round}"))
            .await?;
        if round == 1 {
            redis.stop();
            mqtt.stop();
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_clock_wakes_a_guest_which_chains() -> Result<()> {
    for app in ["triggers", "triggers-p3"] {
        let run = Catena::app(app)?.variable("times", "* * * * * * *");
        let app = run.start().await?;
        times(app.output(), "recorded /cron", 3).await?;
        let ticks = app.output().all();
        let ticks = ticks
            .iter()
            .filter_map(|line| line.split("recorded /cron ").nth(1));
        let ticks = ticks.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        assert_eq!(ticks[2] - ticks[0], 2, "{ticks:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_in_flight_is_finished() -> Result<()> {
    let (redis, mqtt) = (Backing::redis()?, Backing::mosquitto()?);
    let run = Catena::app("triggers")?.variable("redis", &redis_url(&redis));
    let run = run.variable("mqtt", &mqtt_url(&mqtt));
    let mut app = run.start().await?;
    app.output().wait_for("brings messages of channel").await?;
    app.output().wait_for("brings messages of news/+").await?;
    publish(redis.address(), "channel", "slow one")?;
    publish_mqtt(mqtt.address(), "news/a", "slow one")?;
    app.output().wait_for("recorded /redis slow one").await?;
    app.output()
        .wait_for("recorded /mqtt/news/a slow one")
        .await?;
    app.signal(Signal::SIGTERM)?;
    assert!(app.ended().await?.success());
    app.output()
        .wait_for("recorded /redis slow one done")
        .await?;
    app.output()
        .wait_for("recorded /mqtt/news/a slow one done")
        .await?;
    // And it was acknowledged.
    let app = Catena::app("triggers")?
        .variable("mqtt", &mqtt_url(&mqtt))
        .start()
        .await?;
    app.output().wait_for("brings messages of news/+").await?;
    publish_mqtt(mqtt.address(), "news/a", "next")?;
    app.output().wait_for("recorded /mqtt/news/a next").await?;
    assert_eq!(app.output().count("slow one"), 0);
    Ok(())
}

#[tokio::test]
async fn everything_that_is_wrong_is_told_together() -> Result<()> {
    let run = Catena::app("triggers")?.variable("redis", "http://there");
    let run = run
        .variable("mqtt", "ftp://there")
        .variable("times", "0 12 * * *");
    let ended = run.finish().await?;
    assert!(!ended.status.success());
    let told = &ended.stderr;
    for part in [
        "of the scheme \"http\"",
        "of the scheme \"ftp\"",
        "has 5 fields",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
    Ok(())
}

/// In Create, before there is a process.
#[test]
fn everything_that_is_wrong_is_told_by_create() -> Result<()> {
    let (containerd, image) = Containerd::with_app("triggers")?;
    let container = containerd.container(&image, "wrong");
    let container = container.env("SPIN_VARIABLE_REDIS", "http://there");
    let output = container.env("SPIN_VARIABLE_TIMES", "never").run()?;
    assert!(!output.success, "{output:?}");
    for part in ["of the scheme \"http\"", "has 1 fields"] {
        assert!(output.stderr.contains(part), "{part} in {output:?}");
    }
    containerd.nothing_is_left_of("wrong")
}

/// It ends the app only where nothing else is to be served.
#[tokio::test]
async fn a_command_beside_another_trigger_ends_nothing() -> Result<()> {
    let redis = Backing::redis()?;
    let containerd = Containerd::start()?;
    let image = containerd.import(Packed::app("redis-and-command", Form::Rootfs)?.path())?;
    let container = containerd.container(&image, "mixed");
    let mut run = container
        .env("SPIN_VARIABLE_REDIS", &redis_url(&redis))
        .attach()?;
    run.stdout.wait_for("recorded /command").await?;
    run.stdout.wait_for("done").await?;
    run.stderr.wait_for("brings messages of channel").await?;
    publish(redis.address(), "channel", "still here")?;
    run.stdout.wait_for("recorded /redis still here").await?;
    assert!(
        containerd
            .ctr(&["tasks", "kill", "--signal", "SIGTERM", "mixed"])?
            .success
    );
    assert_eq!(run.ended().await?, 0, "the command's code is not the app's");
    Ok(())
}

#[tokio::test]
async fn a_message_of_sqs_reaches_a_guest_and_is_deleted() -> Result<()> {
    let server = Backing::sqs()?;
    let at = server.address();
    let body = json!({ "QueueName": "q", "Attributes": { "VisibilityTimeout": "2" } });
    let queue = sqs(at, "CreateQueue", &body)?["QueueUrl"].clone();
    let queue = queue.as_str().context("a queue has a URL")?;
    let send = |text: &str| {
        let attribute = json!({ "colour": { "DataType": "String", "StringValue": "red" } });
        let message =
            json!({ "QueueUrl": queue, "MessageBody": text, "MessageAttributes": attribute });
        sqs(at, "SendMessage", &message).map(drop)
    };
    send("hello")?;
    let app = with_queue(at, queue)?.start().await?;
    app.output().wait_for("is asked for messages").await?;
    app.output()
        .wait_for("recorded /sqs hello SentTimestamp colour")
        .await?;
    // One that fails, and one that is to be left, come again after the visibility timeout.
    send("fail")?;
    send("leave")?;
    times(app.output(), "recorded /sqs fail", 2).await?;
    times(app.output(), "recorded /sqs leave", 2).await?;
    assert_eq!(
        app.output().count("recorded /sqs hello"),
        1,
        "it was deleted"
    );
    Ok(())
}

fn with_queue(at: SocketAddr, queue: &str) -> Result<Catena> {
    let run = Catena::app("queue")?.variable("queue", queue);
    let run = run.env("AWS_ENDPOINT_URL", &format!("http://{at}"));
    let run = run.env("AWS_REGION", "us-east-1");
    let run = run.env("AWS_ACCESS_KEY_ID", "key");
    Ok(run.env("AWS_SECRET_ACCESS_KEY", "secret"))
}

/// The server of a queue goes and comes back; and at a stop the message at work is finished, and deleted.
#[tokio::test]
async fn a_queue_that_is_lost_comes_back_and_a_stop_finishes_its_message() -> Result<()> {
    let mut server = Backing::sqs()?;
    let at = server.address();
    let body = json!({ "QueueName": "q", "Attributes": { "VisibilityTimeout": "2" } });
    let queue = sqs(at, "CreateQueue", &body)?["QueueUrl"].clone();
    let queue = queue.as_str().context("a queue has a URL")?;
    let mut app = with_queue(at, queue)?.start().await?;
    app.output().wait_for("is asked for messages").await?;
    server.stop();
    app.output().wait_for("brings nothing").await?;
    server.start()?;
    // It keeps nothing.
    sqs(at, "CreateQueue", &body)?;
    app.output().wait_for("is there again").await?;
    let message = json!({ "QueueUrl": queue, "MessageBody": "slow one" });
    sqs(at, "SendMessage", &message)?;
    app.output().wait_for("recorded /sqs slow one").await?;
    app.signal(Signal::SIGTERM)?;
    assert!(app.ended().await?.success());
    let done = "recorded /sqs slow one SentTimestamp done";
    app.output().wait_for(done).await?;
    // What is not deleted comes again after two seconds.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let left = sqs(at, "ReceiveMessage", &json!({ "QueueUrl": queue }))?;
    assert!(
        left["Messages"].as_array().is_none_or(Vec::is_empty),
        "{left}"
    );
    Ok(())
}

/// All six in one container, and each of them wakes something that calls the same component.
#[tokio::test]
async fn six_triggers_in_one_container() -> Result<()> {
    let (redis, mqtt, queues) = (Backing::redis()?, Backing::mosquitto()?, Backing::sqs()?);
    let queue = sqs(
        queues.address(),
        "CreateQueue",
        &json!({ "QueueName": "events" }),
    )?;
    let queue = queue["QueueUrl"].as_str().context("a queue has a URL")?;
    let (containerd, image) = Containerd::with_app("all-triggers")?;
    let container = containerd.container(&image, "six");
    let mut run = container
        .env("SPIN_VARIABLE_REDIS", &redis_url(&redis))
        .env("SPIN_VARIABLE_MQTT", &mqtt_url(&mqtt))
        .env("SPIN_VARIABLE_QUEUE", queue)
        .env("SPIN_VARIABLE_TIMES", "* * * * * *")
        .env("AWS_ENDPOINT_URL", &format!("http://{}", queues.address()))
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "key")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .attach()?;
    run.stderr.wait_for("messages of events/+").await?;
    times(&run.stderr, "messages of events", 2).await?;
    run.stderr.wait_for("is asked for messages").await?;
    let task = Task::find(&containerd, "six")?;
    assert_eq!(task.get("/").await?.status.as_u16(), 200);
    publish(redis.address(), "events", "one")?;
    publish_mqtt(mqtt.address(), "events/a", "two")?;
    let message = json!({ "QueueUrl": queue, "MessageBody": "three" });
    sqs(queues.address(), "SendMessage", &message)?;
    let told = [
        "/command",
        "/http",
        "/redis one",
        "/mqtt/events/a two",
        "/sqs three",
        "/cron",
    ];
    for part in told {
        run.stdout.wait_for(&format!("recorded {part}")).await?;
    }
    assert!(task.kill("SIGTERM")?.success);
    assert_eq!(run.ended().await?, 0);
    containerd.nothing_is_left_of("six")
}
