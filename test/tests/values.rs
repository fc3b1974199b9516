//! Variables and the runtime configuration: who knows a value, what the file may say, and what of it is
//! refused. Vault is a server of the test's that speaks the part of its KV engine that catena asks.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use catena_test::client::encode;
use catena_test::upstream::Authority;
use catena_test::{Catena, Containerd, Running, Scripted, Upstream};
use serde_json::json;
use tempfile::TempDir;

/// A folder with a runtime configuration in it.
struct Config {
    folder: TempDir,
}

impl Config {
    fn new(text: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        fs::write(folder.path().join("runtime-config.toml"), text)?;
        Ok(Self { folder })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("runtime-config.toml")
    }
}

async fn text(app: &Running, path: &str) -> Result<String> {
    Ok(app.get(path).await?.text())
}

/// Every interface tells the component's own variables, and only those.
#[tokio::test]
async fn every_interface_tells_the_same() -> Result<()> {
    let app = Catena::app("values")?.variable("secret", "x{{ plain }}");
    let app = app.start().await?;
    for path in ["/v1/told", "/v2/told", "/sdk/variable/told"] {
        assert_eq!(text(&app, path).await?, "<x{{ plain }}>", "{path}");
    }
    assert_eq!(
        text(&app, "/config/told").await?,
        "Some(\"<x{{ plain }}>\")"
    );
    let all = text(&app, "/all/").await?;
    assert!(all.contains("(\"plain\", \"from the image\")"), "{all}");
    // The application has it, but not this component.
    assert!(
        text(&app, "/v2/secret")
            .await?
            .starts_with("Error::Undefined")
    );
    assert!(
        text(&app, "/v1/secret")
            .await?
            .starts_with("Error::Provider")
    );
    assert_eq!(text(&app, "/config/secret").await?, "None");
    assert!(
        text(&app, "/v2/No-Name")
            .await?
            .starts_with("Error::InvalidName")
    );
    assert!(
        text(&app, "/v1/No-Name")
            .await?
            .starts_with("Error::InvalidKey")
    );
    assert_eq!(text(&app, "/config/No-Name").await?, "None");
    assert!(
        text(&app, "/sdk/variable/none")
            .await?
            .starts_with("Error::Undefined")
    );
    Ok(())
}

#[tokio::test]
async fn the_first_provider_counts_and_the_environment_is_last() -> Result<()> {
    let config = Config::new(
        r#"
        [[variables_provider]]
        type = "static"
        values = { plain = "static" }
        [[variables_provider]]
        type = "env"
        prefix = "OWN"
        dotenv_path = "values.env"
        "#,
    )?;
    fs::write(
        config.folder.path().join("values.env"),
        "OWN_SECRET='from a file'\n",
    )?;
    let app = Catena::app("values")?.runtime_config(&config.path());
    let app = app.variable("plain", "env").variable("secret", "env");
    let app = app.start().await?;
    assert_eq!(text(&app, "/v2/plain").await?, "static");
    assert_eq!(text(&app, "/v2/told").await?, "<from a file>");
    Ok(())
}

/// What Vault says is used at start and asked again later; its token is in no log.
#[tokio::test]
async fn vault_is_asked() -> Result<()> {
    let times = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&times);
    let vault =
        Scripted::start(
            move |asked| match (asked.path.as_str(), asked.header("x-vault-token")) {
                ("/v1/secret/data/my/app/secret", "hush") => {
                    let time = count.fetch_add(1, Ordering::SeqCst);
                    let value = format!("v{time}");
                    (200, json!({"data": {"data": {"value": value}}}).to_string())
                }
                (_, "hush") => (404, "{}".to_owned()),
                _ => (403, "{}".to_owned()),
            },
        )
        .await?;
    let config = |token: &str| {
        Config::new(&format!(
            "[[variables_provider]]\ntype = \"vault\"\nurl = \"http://{}\"\ntoken = \"{token}\"\n\
             mount = \"secret\"\nprefix = \"my/app\"\n\
             [outbound_networking]\nblock_networks = [\"private\"]\n",
            vault.address()
        ))
    };
    let good = config("hush")?;
    let app = Catena::app("values")?.runtime_config(&good.path());
    let app = app.host_env("RUST_LOG", "debug").start().await?;
    assert_eq!(text(&app, "/v2/plain").await?, "from the image");
    // Within a few seconds the answer that was given at start counts.
    assert_eq!(text(&app, "/v2/told").await?, "<v0>");
    let changed = async {
        while text(&app, "/sdk/variable/told").await? == "<v0>" {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), changed).await??;
    assert!(
        !app.output().text().contains("hush"),
        "{}",
        app.output().text()
    );

    let bad = config("wrong")?;
    let run = Catena::app("values")?.runtime_config(&bad.path());
    let run = run.finish().await?;
    assert!(!run.status.success(), "{run:?}");
    assert!(
        run.stderr
            .contains("the variable \"secret\": Vault answered with 403"),
        "{run:?}"
    );
    assert!(!run.stderr.contains("wrong"), "{run:?}");
    Ok(())
}

/// Everything that is wrong is told at once, missing variables too.
#[tokio::test]
async fn what_is_wrong_in_the_file_is_told_together() -> Result<()> {
    let config = Config::new(
        "speed = 1\n[llm_compute]\ntype = \"spin\"\n[outbound_networking]\nblock_networks = [\"x\"]\n",
    )?;
    let run = Catena::app("values")?.runtime_config(&config.path());
    let run = run
        .env("SPIN_COMPONENTS_TO_RETAIN", "valeus")
        .finish()
        .await?;
    assert!(!run.status.success(), "{run:?}");
    for part in [
        "speed is not a section",
        "catena runs no models itself",
        "\"x\" is neither a block",
        "no component \"valeus\"",
    ] {
        assert!(run.stderr.contains(part), "{part} in {run:?}");
    }
    let config = Config::new("")?;
    let run = Catena::app("values")?.runtime_config(&config.path());
    let run = run.finish().await?;
    assert!(run.stderr.contains("SPIN_VARIABLE_SECRET"), "{run:?}");
    Ok(())
}

#[tokio::test]
async fn only_the_retained_components_run() -> Result<()> {
    let app = Catena::app("values")?.variable("secret", "x");
    let app = app.env("SPIN_COMPONENTS_TO_RETAIN", "sdk").start().await?;
    assert_eq!(text(&app, "/sdk/variable/told").await?, "<x>");
    assert_eq!(app.get("/v2/told").await?.status.as_u16(), 404);

    let chain = Catena::app("chain")?.env("SPIN_COMPONENTS_TO_RETAIN", "gateway");
    let run = chain.finish().await?;
    assert!(!run.status.success(), "{run:?}");
    assert!(
        run.stderr.contains("drops the component \"accounts\""),
        "{run:?}"
    );
    Ok(())
}

async fn call(app: &Running, url: &str) -> Result<String> {
    text(app, &format!("/~call/call?url={}", encode(url))).await
}

/// By a name and by an address; what is not blocked is reached.
#[tokio::test]
async fn blocked_networks_are_not_reached() -> Result<()> {
    let server = Upstream::start().await?;
    let port = server.address().port();
    let (run, _config) = blocking("private", &server)?;
    let app = run.start().await?;
    for host in ["localhost", "127.0.0.1"] {
        let answer = call(&app, &format!("http://{host}:{port}/")).await?;
        assert_eq!(answer, "DestinationIpProhibited", "{host}");
    }
    assert_eq!(server.connections(), 0);
    let (run, _config) = blocking("10.0.0.0/8", &server)?;
    let app = run.start().await?;
    for _ in 0..3 {
        let answer = call(&app, &format!("http://127.0.0.1:{port}/")).await?;
        assert!(answer.starts_with("GET /"), "{answer}");
    }
    assert_eq!(server.connections(), 3, "each on a connection of its own");
    Ok(())
}

fn blocking(network: &str, server: &Upstream) -> Result<(Catena, Config)> {
    let config = Config::new(&format!(
        "[outbound_networking]\nblock_networks = [\"{network}\"]\n[outbound_http]\n\
         connection_pooling = false\nmax_concurrent_requests = 1\n"
    ))?;
    let run = Catena::app("values")?.runtime_config(&config.path());
    let run = run.variable("secret", "x");
    let run = run.variable("server", &server.address().to_string());
    Ok((run, config))
}

/// The authority of a section counts for its components and hosts only.
#[tokio::test]
async fn a_section_of_client_tls_is_for_its_component() -> Result<()> {
    let authority = Authority::create()?;
    let server = Upstream::start_tls(&authority).await?;
    let url = format!("https://localhost:{}/", server.address().port());
    for (component, trusted) in [("call", true), ("sdk", false)] {
        let config = Config::new(&format!(
            "[[client_tls]]\ncomponent_ids = [\"{component}\"]\nhosts = [\"localhost\"]\n\
             ca_roots_file = \"ca.pem\"\n"
        ))?;
        fs::copy(authority.root(), config.folder.path().join("ca.pem"))?;
        let run = Catena::app("values")?.runtime_config(&config.path());
        let app = run.variable("secret", "x").start().await?;
        let answer = call(&app, &url).await?;
        assert_eq!(answer.starts_with("GET /"), trusted, "{answer}");
    }
    Ok(())
}

/// Both interfaces of servers, and both of guests.
#[tokio::test]
async fn models_are_asked() -> Result<()> {
    let models = Scripted::start(|asked| {
        if asked.header("authorization") != "bearer hush" {
            return (401, json!({"error": {"message": "who are you?"}}).to_string());
        }
        let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap_or_default();
        let answer = match asked.path.as_str() {
            "/infer" => json!({
                "text": format!("{} {}", body["prompt"], body["options"]["maxTokens"]),
                "usage": {"promptTokenCount": 2, "generatedTokenCount": 3},
            }),
            "/embed" => json!({"embeddings": [[1.0], [2.5]], "usage": {"promptTokenCount": 4}}),
            "/v1/chat/completions" => json!({
                "choices": [{"message": {"role": "assistant", "content": body["messages"][0]["content"]}}],
                "usage": {"prompt_tokens": 5, "completion_tokens": body["max_completion_tokens"]},
            }),
            "/v1/embeddings" => json!({
                "data": [{"embedding": [0.5]}, {"embedding": [1.5]}],
                "usage": {"prompt_tokens": 6},
            }),
            _ => return (404, "no such thing".to_owned()),
        };
        (200, answer.to_string())
    })
    .await?;
    let start = async |token: &str, api: &str| -> Result<Running> {
        let config = Config::new(&format!(
            "[llm_compute]\ntype = \"remote_http\"\nurl = \"http://{}\"\nauth_token = \"{token}\"\n\
             api_type = \"{api}\"\n",
            models.address()
        ))?;
        let run = Catena::app("values")?.runtime_config(&config.path());
        run.variable("secret", "x").start().await
    };
    let app = start("hush", "default").await?;
    assert_eq!(text(&app, "/infer/known").await?, "\"Why?\" 7 2 3");
    assert_eq!(text(&app, "/infer-v1/known").await?, "\"Why?\" 100");
    assert_eq!(text(&app, "/embed/known").await?, "[[1.0], [2.5]] 4");
    assert_eq!(text(&app, "/embed-v1/known").await?, "[[1.0], [2.5]]");
    let asked = models.asked().len();
    assert!(
        text(&app, "/infer/other")
            .await?
            .starts_with("Error::InvalidInput")
    );
    assert_eq!(models.asked().len(), asked, "what is denied is not asked");

    let app = start("hush", "open_ai").await?;
    assert_eq!(text(&app, "/infer/known").await?, "Why? 5 7");
    assert_eq!(text(&app, "/sdk/infer/known").await?, "Why? 5 100");
    assert_eq!(text(&app, "/embed/known").await?, "[[0.5], [1.5]] 6");

    let app = start("wrong", "open_ai").await?;
    let answer = text(&app, "/infer/known").await?;
    assert!(
        answer.contains("RuntimeError") && answer.contains("who are you?"),
        "{answer}"
    );

    let app = Catena::app("values")?
        .variable("secret", "x")
        .start()
        .await?;
    let answer = text(&app, "/infer/known").await?;
    assert!(answer.contains("no server of models"), "{answer}");
    Ok(())
}

/// A file and a folder that holds it: both are read where the container will find them, in Create
/// and by the worker.
#[tokio::test]
async fn under_containerd_the_file_is_a_mount() -> Result<()> {
    let (containerd, image) = Containerd::with_app("values")?;
    let config = Config::new(
        "[[variables_provider]]\ntype = \"static\"\nvalues = { secret = \"mounted\" }\n",
    )?;
    let mount = format!(
        "type=bind,src={},dst=/runtime-config.toml,options=rbind:ro",
        config.path().display()
    );
    let container = containerd.container(&image, "values");
    let task = container.flags(&["--mount", &mount]);
    let task = task
        .env("SPIN_COMPONENTS_TO_RETAIN", "values, sdk")
        .start()?;
    assert_eq!(task.get("/v2/told").await?.text(), "<mounted>");
    // The component is gone with its route: another answers there.
    assert_eq!(task.get("/~call/count").await?.text(), "not asked anything");
    task.kill("SIGTERM")?;
    task.becomes("STOPPED")?;
    task.delete()?;
    containerd.nothing_is_left_of("values")
}

/// Create itself says all that is wrong, and nothing is left.
#[test]
fn under_containerd_a_bad_file_is_refused_in_create() -> Result<()> {
    let (containerd, image) = Containerd::with_app("values")?;
    let config = Config::new("speed = 1\n[key_value_store.a]\ntype = \"azure_cosmos\"\n")?;
    let mount = format!(
        "type=bind,src={},dst=/runtime-config.toml,options=rbind:ro",
        config.path().display()
    );
    let container = containerd
        .container(&image, "bad")
        .flags(&["--mount", &mount]);
    let output = container.env("SPIN_COMPONENTS_TO_RETAIN", "nobody").run()?;
    assert!(!output.success, "{output:?}");
    for part in [
        "/runtime-config.toml: speed is not a section",
        "/runtime-config.toml: key_value_store.a: catena has no client of Azure Cosmos DB",
        "no component \"nobody\"",
    ] {
        assert!(output.stderr.contains(part), "{part} in {output:?}");
    }
    containerd.nothing_is_left_of("bad")
}

/// A collector gets what a guest reports, also what is reported just before the end.
#[tokio::test]
async fn telemetry_reaches_the_collector() -> Result<()> {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point;
    use prost::Message;

    let collector = Scripted::start(|_| (200, String::new())).await?;
    let app = Catena::app("values")?.variable("secret", "x");
    let app = app.env(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        &format!("http://{}", collector.address()),
    );
    let app = app.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=hush");
    let mut app = app.start().await?;
    assert_eq!(text(&app, "/otel/checkout").await?, "Ok(())");
    assert!(app.stop().await?.success());

    let asked = collector.asked();
    let body = |path: &str| {
        let found = asked.iter().find(|asked| asked.path == path);
        let found = found.with_context(|| format!("nothing came to {path}"))?;
        assert_eq!(found.header("content-type"), "application/x-protobuf");
        assert_eq!(found.header("x-key"), "hush");
        anyhow::Ok(found.body.clone())
    };
    let traces = ExportTraceServiceRequest::decode(body("/v1/traces")?)?;
    let resource = &traces.resource_spans[0].resource;
    let told = resource.as_ref().context("no resource")?.attributes.iter();
    let told: Vec<_> = told
        .filter_map(|pair| match pair.value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["values", "values"], "the service and the component");
    let span = &traces.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), span.kind), ("checkout", 2));
    assert_eq!(span.trace_id.len(), 16);
    assert_eq!(span.span_id.len(), 8);
    assert!(span.parent_span_id.is_empty());
    assert_eq!(span.start_time_unix_nano, 7_000_000_009);
    assert_eq!(span.status.as_ref().map(|status| status.code), Some(2));
    let value = span.attributes[0]
        .value
        .as_ref()
        .and_then(|value| value.value.clone());
    assert_eq!(value, Some(Value::IntValue(42)));

    let metrics = ExportMetricsServiceRequest::decode(body("/v1/metrics")?)?;
    let metric = &metrics.resource_metrics[0].scope_metrics[0].metrics[0];
    assert_eq!(metric.name, "checkout");
    let Some(Data::Sum(sum)) = &metric.data else {
        anyhow::bail!("{metric:?}");
    };
    assert!(sum.is_monotonic);
    assert_eq!(
        sum.data_points[0].value,
        Some(number_data_point::Value::AsInt(3))
    );

    let logs = ExportLogsServiceRequest::decode(body("/v1/logs")?)?;
    let record = &logs.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.severity_number, 9);
    let said = record.body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(said, Some(Value::StringValue("checkout".to_owned())));
    Ok(())
}

/// Without a collector it goes nowhere; a protocol that catena lacks is refused.
#[tokio::test]
async fn telemetry_is_optional() -> Result<()> {
    let app = Catena::app("values")?
        .variable("secret", "x")
        .start()
        .await?;
    assert_eq!(text(&app, "/otel/checkout").await?, "Ok(())");

    let run = Catena::app("values")?.variable("secret", "x");
    let run = run.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4317");
    let run = run
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .finish()
        .await?;
    assert!(!run.status.success(), "{run:?}");
    assert!(
        run.stderr.contains("OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        "{run:?}"
    );
    Ok(())
}
