//! Guests in JavaScript and Python, by the tools that their authors use: served by `catena run` and under containerd.

use anyhow::Result;
use catena_test::client::Client;
use catena_test::{Catena, Containerd};
use http::StatusCode;

/// A component greets, takes a body, and calls the one in Rust.
async fn works(client: &mut Client, route: &str, greeting: &str) -> Result<()> {
    let hello = client.get(&format!("{route}/")).await?;
    assert_eq!(hello.status, StatusCode::OK, "{route}");
    assert_eq!(hello.text(), greeting);
    assert_eq!(hello.header("content-type"), "text/plain");
    let loud = client.post(&format!("{route}/"), "quiet").await?;
    assert_eq!(loud.text(), "QUIET", "{route}");
    let called = client
        .get(&format!("{route}/call?url=http://hello.spin.internal/"))
        .await?;
    assert_eq!(called.text(), "200 Hello from catena\n", "{route}");
    Ok(())
}

#[tokio::test]
async fn javascript_and_python_answer_and_call() -> Result<()> {
    let app = Catena::app("languages")?.start().await?;
    let mut client = app.http1().await?;
    works(&mut client, "/js", "Hello from JavaScript\n").await?;
    works(&mut client, "/spin-js", "Hello from JavaScript\n").await?;
    works(&mut client, "/python", "Hello from Python\n").await
}

#[tokio::test]
async fn javascript_and_python_run_under_containerd() -> Result<()> {
    let (containerd, image) = Containerd::with_app("languages")?;
    let task = containerd.container(&image, "languages").start()?;
    for (route, greeting) in [
        ("/js/", "Hello from JavaScript\n"),
        ("/spin-js/", "Hello from JavaScript\n"),
        ("/python/", "Hello from Python\n"),
        (
            "/python/call?url=http://hello.spin.internal/",
            "200 Hello from catena\n",
        ),
    ] {
        assert_eq!(task.get(route).await?.text(), greeting, "{route}");
    }
    assert!(task.kill("SIGTERM")?.success);
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 0);
    containerd.nothing_is_left_of("languages")
}
