//! The sqs trigger against moto: the asynchronous export, and credentials from everywhere that catena looks for them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use catena_test::broker::sqs;
use catena_test::{Backing, Catena, Running, Scripted};
use serde_json::json;
use tempfile::TempDir;

/// A new queue; gives its URL.
fn queue(server: SocketAddr) -> Result<String> {
    let body = json!({ "QueueName": "q", "Attributes": { "VisibilityTimeout": "2" } });
    let made = sqs(server, "CreateQueue", &body)?;
    let url = made["QueueUrl"].as_str().context("a queue has a URL")?;
    Ok(url.to_owned())
}

fn send(server: SocketAddr, queue: &str, text: &str) -> Result<()> {
    let message = json!({ "QueueUrl": queue, "MessageBody": text });
    sqs(server, "SendMessage", &message).map(drop)
}

/// The app, with no credentials yet.
fn app(name: &str, server: SocketAddr, queue: &str) -> Result<Catena> {
    let run = Catena::app(name)?.variable("queue", queue);
    let run = run.env("AWS_ENDPOINT_URL", &format!("http://{server}"));
    Ok(run.env("AWS_REGION", "us-east-1"))
}

/// Whether a message comes.
async fn listens(app: &Running, server: SocketAddr, queue: &str) -> Result<()> {
    app.output().wait_for("is asked for messages").await?;
    send(server, queue, "hello")?;
    app.output().wait_for("recorded /sqs hello").await?;
    Ok(())
}

#[tokio::test]
async fn a_message_reaches_an_asynchronous_guest_which_chains() -> Result<()> {
    let server = Backing::sqs()?;
    let at = server.address();
    let queue = queue(at)?;
    let run = app("queue-p3", at, &queue)?.env("AWS_ACCESS_KEY_ID", "key");
    let app = run.env("AWS_SECRET_ACCESS_KEY", "secret").start().await?;
    listens(&app, at, &queue).await?;
    // One that fails comes again after the visibility timeout.
    send(at, &queue, "fail")?;
    app.output().wait_for("recorded /sqs fail").await?;
    app.output().wait_for("it returned the error").await?;
    let again = async {
        while app.output().count("recorded /sqs fail") < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let limit = catena_test::output::PATIENCE;
    let came = tokio::time::timeout(limit, again).await;
    came.with_context(|| app.output().text())?;
    let hello = app.output().count("recorded /sqs hello");
    assert_eq!(hello, 1, "it was deleted");
    Ok(())
}

/// As a service account of Kubernetes is given a role by IRSA.
#[tokio::test]
async fn a_web_identity_is_turned_into_a_role_by_sts() -> Result<()> {
    let server = Backing::sqs()?;
    let at = server.address();
    let queue = queue(at)?;
    let folder = TempDir::new()?;
    let token = folder.path().join("token");
    let token_file = token.to_string_lossy().into_owned();
    let run = app("queue", at, &queue)?
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token_file);
    let app = run.start().await?;
    let line = app.output().wait_for("brings nothing").await?;
    assert!(
        line.contains(&format!(
            "AWS_WEB_IDENTITY_TOKEN_FILE, {token_file}: No such file"
        )),
        "{line}"
    );
    // Whoever writes it later is not too late.
    std::fs::write(&token, "header.payload.signature\n")?;
    listens(&app, at, &queue).await
}

/// STS may be elsewhere than the queue, and what it says is told.
#[tokio::test]
async fn sts_has_an_address_of_its_own_and_its_refusal_is_told() -> Result<()> {
    let server = Backing::sqs()?;
    let at = server.address();
    let queue = queue(at)?;
    let sts = Scripted::start(|_| {
        let error = "<Code>AccessDenied</Code><Message>Not authorized to perform it</Message>";
        let error = format!("<ErrorResponse><Error>{error}</Error></ErrorResponse>");
        (403, error)
    })
    .await?;
    let folder = TempDir::new()?;
    let token = folder.path().join("token");
    std::fs::write(&token, "token")?;
    let run = app("queue", at, &queue)?
        .env("AWS_ENDPOINT_URL_STS", &format!("http://{}", sts.address()))
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token.to_string_lossy());
    let app = run.start().await?;
    let line = app.output().wait_for("brings nothing").await?;
    let why = "STS gives no role \"arn:aws:iam::123456789012:role/reader\": \
               AccessDenied: Not authorized to perform it";
    assert!(line.contains(why), "{line}");
    let asked = sts.asked();
    let body = String::from_utf8_lossy(&asked[0].body).into_owned();
    for part in [
        "AssumeRoleWithWebIdentity",
        "WebIdentityToken=token",
        "RoleSessionName=catena",
    ] {
        assert!(body.contains(part), "{part} in {body}");
    }
    Ok(())
}

/// As EKS's pod identity and ECS give them.
#[tokio::test]
async fn an_agent_on_the_node_gives_credentials() -> Result<()> {
    let server = Backing::sqs()?;
    let at = server.address();
    let queue = queue(at)?;
    let agent = Scripted::start(|asked| {
        if asked.header("authorization") != "token" {
            return (401, String::new());
        }
        let answer = json!({
            "AccessKeyId": "key",
            "SecretAccessKey": "secret",
            "Token": "session",
            "Expiration": "2099-01-01T00:00:00Z",
        });
        (200, answer.to_string())
    })
    .await?;
    let folder = TempDir::new()?;
    let token = folder.path().join("token");
    std::fs::write(&token, "of somebody else")?;
    let url = format!("http://{}/v1/credentials", agent.address());
    let run = app("queue", at, &queue)?
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)
        .env(
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            &token.to_string_lossy(),
        );
    let app = run.start().await?;
    let line = app.output().wait_for("brings nothing").await?;
    let why = format!("the agent at {url} gives no credentials: it answers 401 Unauthorized");
    assert!(line.contains(&why), "{line}");
    std::fs::write(&token, "token\n")?;
    listens(&app, at, &queue).await?;
    let asked = agent.asked();
    let last = asked.last().context("it was asked")?;
    assert_eq!(
        (last.path.as_str(), last.header("authorization")),
        ("/v1/credentials", "token")
    );
    Ok(())
}

#[tokio::test]
async fn half_of_the_credentials_and_a_strange_agent_are_refused() -> Result<()> {
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let queue = "http://127.0.0.1:1/q";
    let half = app("queue", nobody, queue)?.env("AWS_ROLE_ARN", "arn");
    let ended = half.finish().await?;
    assert!(!ended.status.success());
    let why = "AWS_ROLE_ARN without AWS_WEB_IDENTITY_TOKEN_FILE; set both or none";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    let strange = app("queue", nobody, queue)?
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/");
    let ended = strange.finish().await?;
    assert!(!ended.status.success());
    let why = "AWS_CONTAINER_CREDENTIALS_FULL_URI is \"http://example.com/\"";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
    Ok(())
}
