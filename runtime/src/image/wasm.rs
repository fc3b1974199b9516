//! What a wasm file is, and what it exports and imports, without running it.

use wasmparser::{
    BinaryReaderError, Encoding, KnownCustom, Parser, Payload, ProducersSectionReader,
};

/// A module or a component, seen from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Whether it is a component, as against a core module.
    pub component: bool,
    /// The names of its exports.
    pub exports: Vec<String>,
    /// The names of its imports (of a module: the modules it imports from).
    pub imports: Vec<String>,
    /// Whether a module carries the component types that wit-bindgen leaves.
    pub has_component_types: bool,
    /// The version of clang that a module says it was compiled with.
    pub clang: Option<String>,
}

/// What a component is for, by its exports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// It answers HTTP requests.
    Http,
    /// It runs once, from start to exit.
    Command,
}

/// What a core module of Spin's first SDKs exports to answer HTTP requests.
pub(super) const FIRST_HANDLER: &str = "handle-http-request";

impl Interface {
    /// Reads the outside of a wasm file; the error says what the file is instead.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if !bytes.starts_with(b"\0asm") {
            return Err(match std::str::from_utf8(&bytes[..bytes.len().min(64)]) {
                Ok(text)
                    if text.trim_start().starts_with("(module")
                        || text.trim_start().starts_with("(component") =>
                {
                    "is WebAssembly in its text form; turn it into a binary with `wasm-tools parse`"
                        .to_owned()
                }
                _ => "is not WebAssembly: it is neither a component nor a core module".to_owned(),
            });
        }
        let mut interface = Interface::default();
        let mut depth = 0usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(unsound)?;
            match payload {
                Payload::Version { encoding, .. } => {
                    depth += 1;
                    if depth == 1 {
                        interface.component = encoding == Encoding::Component;
                    }
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                // Only the outermost interface is wanted, not those nested in it.
                other if depth == 1 => interface.add(other).map_err(unsound)?,
                _ => {}
            }
        }
        interface.imports.sort();
        interface.imports.dedup();
        Ok(interface)
    }

    fn add(&mut self, payload: Payload<'_>) -> Result<(), BinaryReaderError> {
        match payload {
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.name.to_owned());
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    self.exports.push(export?.name.to_owned());
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    self.imports.push(import?.module.to_owned());
                }
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                self.has_component_types = true;
            }
            Payload::CustomSection(section) => {
                // What is only told about a module may be damaged without harm.
                if let KnownCustom::Producers(fields) = section.as_known() {
                    self.clang = clang(fields).unwrap_or_default();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether it answers HTTP requests.
    pub fn answers_http(&self) -> bool {
        let is_first = !self.component && self.exports.iter().any(|name| name == FIRST_HANDLER);
        is_first
            || self.exports_any(&[
                "wasi:http/incoming-handler@",
                "wasi:http/handler@",
                "fermyon:spin/inbound-http",
            ])
    }

    /// Whether it can run once, from start to exit.
    pub fn runs(&self) -> bool {
        match self.component {
            true => self.exports_any(&["wasi:cli/run@"]),
            false => self.exports.iter().any(|name| name == "_start"),
        }
    }

    /// What it is for, or the reason why it cannot be told.
    pub fn purpose(&self) -> Result<Purpose, String> {
        if self.answers_http() {
            return Ok(Purpose::Http);
        }
        if self.runs() {
            return Ok(Purpose::Command);
        }
        Err(format!(
            "exports neither an HTTP handler (`wasi:http/incoming-handler`, `wasi:http/handler`) \
             nor a command (`wasi:cli/run`, `_start`); it exports {}",
            self.exports_shown()
        ))
    }

    /// Some of its exports, for a sentence.
    pub(crate) fn exports_shown(&self) -> String {
        let shown: Vec<_> = self
            .exports
            .iter()
            .take(8)
            .map(|name| format!("`{name}`"))
            .collect();
        match self.exports.len() {
            0 => "nothing".to_owned(),
            9.. => format!("{} and more", shown.join(", ")),
            _ => shown.join(", "),
        }
    }

    /// Whether the name of an export begins with one of these.
    pub(crate) fn exports_any(&self, prefixes: &[&str]) -> bool {
        self.exports
            .iter()
            .any(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)))
    }
}

/// The version of clang among the tools that made a module.
fn clang(fields: ProducersSectionReader<'_>) -> Result<Option<String>, BinaryReaderError> {
    for field in fields {
        let field = field?;
        if field.name != "processed-by" {
            continue;
        }
        for tool in field.values {
            let tool = tool?;
            if tool.name == "clang" {
                return Ok(Some(tool.version.to_owned()));
            }
        }
    }
    Ok(None)
}

fn unsound(error: BinaryReaderError) -> String {
    format!(
        "is damaged WebAssembly: {} (at byte {})",
        error.message(),
        error.offset()
    )
}
