//! Guests in JavaScript and Python, by the tools that their authors use: served by `catena run` and under containerd.

use anyhow::Result;
use catena_test::client::Client;
use catena_test::{Catena, Containerd, workspace};
use http::StatusCode;

/// Routes of both applications, and how their components greet.
const LANGUAGES: [(&str, &str); 2] = [
    ("/js", "Hello from JavaScript\n"),
    ("/python", "Hello from Python\n"),
];
const SDKS: [(&str, &str); 3] = [
    ("/js", "Hello from JavaScript\n"),
    ("/js-2024", "Hello from JavaScript\n"),
    ("/python", "Hello from Python\n"),
];

/// What the components of `sdks` find in their variable.
const TOLD: [(&str, &str); 3] = [
    ("/js", "good day from JavaScript"),
    ("/js-2024", "good day from 2024"),
    ("/python", "good day from Python"),
];

/// Some of what the SDK for Python imports, from every interface and age.
const WHOLE_WORLD: [&str; 12] = [
    "wasi:http/client@0.3.0",
    "wasi:http/client@0.3.0-rc-2026-03-15",
    "wasi:http/outgoing-handler@0.2.6",
    "wasi:sockets/types@0.3.0",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "fermyon:spin/llm@2.0.0",
    "fermyon:spin/postgres@2.0.0",
    "spin:postgres/postgres@4.2.0",
    "spin:key-value/key-value@3.0.0",
    "spin:mqtt/mqtt@3.0.0",
    "spin:sqlite/sqlite@3.1.0",
];

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
    for (route, greeting) in LANGUAGES {
        works(&mut client, route, greeting).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_sdks_use_stores_and_variables() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let run = Catena::app("sdks")?.state_dir(folder.path());
    let run = run.env("SPIN_VARIABLE_GREETING", "good night");
    let app = run.start().await?;
    let mut client = app.http1().await?;
    for (route, greeting) in SDKS {
        works(&mut client, route, greeting).await?;
    }
    let mut count = 0;
    for (route, told) in TOLD {
        // They share one store, and find what the others left there.
        for _ in 0..2 {
            count += 1;
            let counted = client.get(&format!("{route}/count")).await?;
            assert_eq!(counted.text(), count.to_string(), "{route}");
        }
        let answer = client.get(&format!("{route}/greeting")).await?;
        let told = told.replace("good day", "good night");
        assert_eq!(answer.text(), told, "{route}");
    }
    Ok(())
}

/// A component that imports all that Spin has is linked as a whole before it answers, so the tests above would fail
/// if one name were missing. This keeps the guest what they take it for.
#[test]
fn the_guest_in_python_imports_the_whole_world() -> Result<()> {
    let wasm = std::fs::read(workspace::root().join("target/guests/python/spin.wasm"))?;
    for name in WHOLE_WORLD {
        let there = wasm.windows(name.len()).any(|part| part == name.as_bytes());
        assert!(there, "{name} is not imported");
    }
    Ok(())
}

#[tokio::test]
async fn javascript_and_python_run_under_containerd() -> Result<()> {
    let (containerd, image) = Containerd::with_app("languages")?;
    let task = containerd.container(&image, "languages").start()?;
    for (route, greeting) in LANGUAGES {
        let answer = task.get(&format!("{route}/")).await?;
        assert_eq!(answer.text(), greeting, "{route}");
        let path = format!("{route}/call?url=http://hello.spin.internal/");
        let called = task.get(&path).await?;
        assert_eq!(called.text(), "200 Hello from catena\n", "{route}");
    }
    assert!(task.kill("SIGTERM")?.success);
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 0);
    containerd.nothing_is_left_of("languages")
}

#[tokio::test]
async fn the_sdks_run_under_containerd() -> Result<()> {
    let (containerd, image) = Containerd::with_app("sdks")?;
    let task = containerd.container(&image, "sdks").start()?;
    for (route, greeting) in SDKS {
        let answer = task.get(&format!("{route}/")).await?;
        assert_eq!(answer.text(), greeting, "{route}");
        let path = format!("{route}/call?url=http://hello.spin.internal/");
        let called = task.get(&path).await?;
        assert_eq!(called.text(), "200 Hello from catena\n", "{route}");
    }
    for (number, (route, told)) in TOLD.into_iter().enumerate() {
        let counted = task.get(&format!("{route}/count")).await?;
        assert_eq!(counted.text(), (number + 1).to_string(), "{route}");
        let answer = task.get(&format!("{route}/greeting")).await?;
        assert_eq!(answer.text(), told, "{route}");
    }
    assert!(task.kill("SIGTERM")?.success);
    task.becomes("STOPPED")?;
    assert_eq!(task.delete()?, 0);
    containerd.nothing_is_left_of("sdks")
}
