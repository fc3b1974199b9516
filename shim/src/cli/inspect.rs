//! `catena inspect`: what is in an image, and whether it would start here.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use catena_runtime::app::{
    App, Component, Dependency, HttpRoute, HttpTarget, HttpTrigger, Inherit, Refusal, Trigger,
};
use catena_runtime::image::{Image, LoadError};
use serde_json::{Value, json};

use crate::inside::Files;
use crate::workload::{self, Around};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An OCI layout folder, a tar of an image, an unpacked root file system or a .wasm file
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Prints the image; the exit code is 1 when it would not start.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (image, verdict) = match Image::from_path(&args.image) {
        Ok(image) => {
            let verdict = image.verify();
            let around = Around {
                env: &[],
                mounts: &[],
                named: &[],
                files: Files::Here,
                runtime_config: None,
            };
            let check = |()| workload::check(&image, Refusal::default(), &around);
            let verdict = verdict.and_then(check);
            (Some(image), verdict.map(drop))
        }
        // What was not even found has no verdict.
        Err(error @ LoadError::Io { .. }) => return Err(error.into()),
        Err(error) => (None, Err(error)),
    };
    let reason = verdict.err().map(|error| error.to_string());
    let text = match args.json {
        true => format!("{:#}\n", as_json(image.as_ref(), reason.as_deref())),
        false => as_text(image.as_ref(), reason.as_deref()),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::from(u8::from(reason.is_some())))
}

fn as_text(image: Option<&Image>, reason: Option<&str>) -> String {
    let mut text = String::new();
    if let Some(image) = image {
        // Writing to a string cannot fail.
        let _ = describe(&mut text, image);
    }
    match reason {
        None => text.push_str("verdict: would start\n"),
        Some(reason) => {
            let _ = writeln!(text, "verdict: would not start\n{reason}");
        }
    }
    text
}

fn describe(text: &mut String, image: &Image) -> std::fmt::Result {
    let app = &image.app;
    write!(text, "application {}", app.name)?;
    if let Some(version) = &app.version {
        write!(text, " {version}")?;
    }
    writeln!(text, "\n  lockfile version {}", app.lock_version)?;
    if let Some(digest) = image.digest() {
        writeln!(text, "  manifest {digest}")?;
    }
    writeln!(text, "  requires {}", list(&app.requirements))?;
    for (name, variable) in &app.variables {
        let needed = match variable.default {
            Some(_) => "has a default",
            None => "must be given",
        };
        writeln!(text, "  variable {name}: {needed}")?;
    }
    for component in &app.components {
        writeln!(text, "component {}", component.id)?;
        if let Ok(digest) = image.wasm_digest(&component.id) {
            writeln!(text, "  wasm {digest}")?;
        }
        for (dependency, wasm) in image.dependency_digests(&component.id).unwrap_or_default() {
            let Dependency { name, inherit, .. } = dependency;
            write!(text, "  dependency {name}: wasm {wasm}, ")?;
            if let Some(export) = &dependency.export {
                write!(text, "export {export}, ")?;
            }
            writeln!(text, "inherits {inherit}")?;
        }
        writeln!(text, "  may call {}", list(&component.allowed_hosts))?;
        for file in &component.files {
            writeln!(text, "  file /{}", file.path)?;
        }
    }
    for trigger in &app.triggers {
        writeln!(text, "trigger {}: {}", trigger.id(), sentence(trigger))?;
    }
    for warning in &app.warnings {
        writeln!(text, "warning: {warning}")?;
    }
    Ok(())
}

fn sentence(trigger: &Trigger) -> String {
    match trigger {
        Trigger::Redis(redis) => format!("redis {} -> {}", redis.channel, redis.component),
        Trigger::Mqtt(mqtt) => format!("mqtt {} -> {}", mqtt.topic, mqtt.component),
        Trigger::Cron(cron) => format!("cron {:?} -> {}", cron.expression, cron.component),
        Trigger::Sqs(sqs) => format!("sqs {} -> {}", sqs.queue_url, sqs.component),
        Trigger::Command(command) => format!("command -> {}", command.component),
        Trigger::Http(http) => {
            let target = match &http.target {
                HttpTarget::Component(id) => id.clone(),
                HttpTarget::Static(response) => {
                    format!("static response {}", response.status.as_u16())
                }
            };
            format!("http {} -> {target}", route(http))
        }
    }
}

fn route(trigger: &HttpTrigger) -> &str {
    match &trigger.route {
        HttpRoute::Path(pattern) => pattern,
        HttpRoute::Private => "private",
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "nothing".to_owned()
    } else {
        items.join(", ")
    }
}

fn as_json(image: Option<&Image>, reason: Option<&str>) -> Value {
    let mut value = json!({ "starts": reason.is_none(), "reason": reason });
    if let Some(image) = image {
        value["manifest"] = json!(image.digest().map(|digest| digest.to_string()));
        value["application"] = application(&image.app, image);
    }
    value
}

fn dependencies(component: &Component, image: &Image) -> Vec<Value> {
    let digests = image.dependency_digests(&component.id).unwrap_or_default();
    let dependencies = digests.into_iter().map(|(dependency, wasm)| {
        json!({
            "name": dependency.name.to_string(),
            "wasm": wasm.to_string(),
            "export": dependency.export,
            "inherits": match &dependency.inherit {
                Inherit::All => json!("All"),
                Inherit::Some(powers) => powers.iter().map(|power| power.name()).collect(),
            },
        })
    });
    dependencies.collect()
}

fn application(app: &App, image: &Image) -> Value {
    let components = app.components.iter().map(|component| {
        json!({
            "id": component.id,
            "wasm": image.wasm_digest(&component.id).ok().map(|digest| digest.to_string()),
            "dependencies": dependencies(component, image),
            "allowed_outbound_hosts": component.allowed_hosts,
            "files": component.files.iter().map(|file| &file.path).collect::<Vec<_>>(),
        })
    });
    let triggers = app.triggers.iter().map(|trigger| {
        let route = match trigger {
            Trigger::Http(http) => Some(route(http)),
            _ => None,
        };
        json!({ "id": trigger.id(), "type": trigger.kind(), "route": route, "component": trigger.component() })
    });
    json!({
        "name": app.name,
        "version": app.version,
        "lock_version": app.lock_version,
        "requirements": app.requirements,
        "components": components.collect::<Vec<_>>(),
        "triggers": triggers.collect::<Vec<_>>(),
        "warnings": app.warnings,
    })
}
