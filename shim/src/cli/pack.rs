//! `catena pack`: an image from a manifest.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use catena_runtime::pack::{Form, Options, pack};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The manifest
    #[arg(
        short = 'f',
        long = "file",
        value_name = "FILE",
        default_value = "spin.toml"
    )]
    manifest: PathBuf,
    /// The tar file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The image's form: rootfs, spin or wasm
    #[arg(long = "format", value_name = "FORM", default_value_t)]
    form: Form,
    /// The image's name [default: localhost/<name>:<version>, both from the manifest]
    #[arg(short = 't', long = "tag", value_name = "NAME")]
    reference: Option<String>,
}

/// Packs, and says what came of it.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let packed = pack(&Options {
        manifest: args.manifest.clone(),
        form: args.form,
        reference: args.reference.clone(),
        output: args.output.clone(),
    })?;
    let mut out = std::io::stdout().lock();
    for warning in &packed.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    writeln!(out, "{} {}", packed.reference, packed.digest)?;
    for component in &packed.components {
        let (id, digest) = (&component.id, &component.digest);
        writeln!(
            out,
            "  {id} {digest} ({} bytes, {} files)",
            component.size, component.files
        )?;
    }
    if !packed.must_understand.is_empty() {
        writeln!(
            out,
            "  its host must understand: {}",
            packed.must_understand.join(", ")
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
