//! Core modules made into components.

use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    Instruction, MemorySection, MemoryType, Module, ProducersField, ProducersSection, Section as _,
    TypeSection, ValType,
};

use super::*;

#[test]
fn a_command_module_becomes_a_command_component() {
    let module = command_module();
    let component = componentize(&module).unwrap();
    let interface = Interface::read(&component).unwrap();
    assert!(interface.component && interface.runs(), "{interface:?}");
    assert_eq!(componentize(&component).unwrap(), component);
}

#[test]
fn a_module_without_a_start_is_refused() {
    let error = componentize(b"\0asm\x01\0\0\0").unwrap_err().to_string();
    assert!(error.contains("no `_start`"), "{error}");
    assert!(
        componentize(b"hello")
            .unwrap_err()
            .to_string()
            .contains("is not WebAssembly")
    );
}

/// A command module that says what compiled it.
fn compiled_by(clang: &str) -> Vec<u8> {
    let mut tools = ProducersField::new();
    tools.value("clang", clang);
    let mut producers = ProducersSection::new();
    producers.field("processed-by", &tools);
    let mut module = command_module();
    producers.append_to(&mut module);
    module
}

/// As Spin has it: what was fixed in wasi-libc's pull request 377 is told by clang's
/// version, which has to be read for that.
#[test]
fn an_allocator_that_overwrites_is_refused() {
    for (clang, sound) in [
        ("16.0.0 extra-stuff", true),
        ("15.0.7", true),
        ("15.0.6", false),
        ("14.0.0 extra-stuff", false),
        ("a.b.c", true),
        ("14", true),
    ] {
        let module = compiled_by(clang);
        match componentize(&module) {
            Ok(_) => assert!(sound, "{clang}"),
            Err(error) => assert!(!sound && error.to_string().contains(clang), "{error}"),
        }
    }
}

/// Every function of the first SDKs, with the parameters that it had then; letters
/// stand for types. Only those of `close` ask for no place for a result.
const FIRST: [(&str, &str, &str); 27] = [
    ("spin-config", "get-config", "iii"),
    ("wasi-outbound-http", "request", "iiiiiiiiiii"),
    ("outbound-redis", "publish", "iiiiiii"),
    ("outbound-redis", "get", "iiiii"),
    ("outbound-redis", "set", "iiiiiii"),
    ("outbound-redis", "incr", "iiiii"),
    ("outbound-redis", "del", "iiiii"),
    ("outbound-redis", "sadd", "iiiiiii"),
    ("outbound-redis", "smembers", "iiiii"),
    ("outbound-redis", "srem", "iiiiiii"),
    ("outbound-redis", "execute", "iiiiiii"),
    ("key-value", "open", "iii"),
    ("key-value", "get", "iiii"),
    ("key-value", "set", "iiiiii"),
    ("key-value", "delete", "iiii"),
    ("key-value", "exists", "iiii"),
    ("key-value", "get-keys", "ii"),
    ("key-value", "close", "i"),
    ("sqlite", "open", "iii"),
    ("sqlite", "execute", "iiiiii"),
    ("sqlite", "close", "i"),
    ("outbound-pg", "query", "iiiiiii"),
    ("outbound-pg", "execute", "iiiiiii"),
    ("outbound-mysql", "query", "iiiiiii"),
    ("outbound-mysql", "execute", "iiiiiii"),
    ("llm", "infer", "iiiiiifififi"),
    ("llm", "generate-embeddings", "iiiii"),
];

/// A module of the first SDKs that imports these, and exports functions with these
/// parameters and these numbers of results, which end in a trap.
fn first_module(imports: &[(&str, &str, &str)], exports: &[(&str, &str, usize)]) -> Vec<u8> {
    let kinds = |letters: &str| -> Vec<ValType> {
        let kind = |letter| match letter {
            'i' => ValType::I32,
            _ => ValType::F32,
        };
        letters.chars().map(kind).collect()
    };
    let mut types = TypeSection::new();
    let mut imported = ImportSection::new();
    let mut functions = FunctionSection::new();
    let mut exported = ExportSection::new();
    let mut code = CodeSection::new();
    for (module, name, parameters) in imports {
        imported.import(module, name, EntityType::Function(types.len()));
        types.ty().function(kinds(parameters), []);
    }
    for (name, parameters, results) in exports {
        exported.export(name, ExportKind::Func, types.len());
        functions.function(types.len());
        types
            .ty()
            .function(kinds(parameters), vec![ValType::I32; *results]);
        let mut body = Function::new([]);
        body.instruction(&Instruction::Unreachable);
        body.instruction(&Instruction::End);
        code.function(&body);
    }
    exported.export("memory", ExportKind::Memory, 0);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut module = Module::new();
    module
        .section(&types)
        .section(&imported)
        .section(&functions);
    module.section(&memories).section(&exported).section(&code);
    module.finish()
}

const ALLOCATOR: (&str, &str, usize) = ("canonical_abi_realloc", "iiii", 1);
const HANDLER: (&str, &str, usize) = ("handle-http-request", "iiiiiiiiii", 1);

#[test]
fn every_function_of_the_first_sdks_has_its_place() {
    let exports = [
        ALLOCATOR,
        ("canonical_abi_free", "iii", 0),
        HANDLER,
        ("handle-redis-message", "ii", 1),
    ];
    let module = first_module(&FIRST, &exports);
    assert!(Interface::read(&module).unwrap().answers_http());
    let component = Interface::read(&componentize(&module).unwrap()).unwrap();
    assert!(component.answers_http() && !component.runs());
    for name in ["fermyon:spin/inbound-http", "fermyon:spin/inbound-redis"] {
        assert!(
            component.exports.iter().any(|export| export == name),
            "{name}"
        );
    }
    for name in [
        "config",
        "http",
        "redis",
        "key-value",
        "sqlite",
        "postgres",
        "mysql",
        "llm",
    ] {
        let name = format!("fermyon:spin/{name}");
        assert!(component.imports.contains(&name), "{name}");
    }
}

#[test]
fn a_command_of_the_first_sdks_runs() {
    let module = first_module(&FIRST[..1], &[ALLOCATOR, ("_start", "", 0)]);
    let component = Interface::read(&componentize(&module).unwrap()).unwrap();
    assert!(component.runs() && !component.answers_http());
}

#[test]
fn what_the_last_of_the_first_sdks_had_not_is_refused() {
    let refused = |imports: &[_], exports: &[_]| {
        let error = componentize(&first_module(imports, exports)).unwrap_err();
        format!("{error:#}")
    };
    let gone = refused(&[("sqlite", "query", "iiiiii")], &[ALLOCATOR, HANDLER]);
    assert!(gone.contains("imports `query` of `sqlite`"), "{gone}");
    assert!(gone.contains("build it again with a newer SDK"), "{gone}");
    // Requests had an address of the client once.
    let other = refused(
        &[("wasi-outbound-http", "request", "iiiiiiiiiiiii")],
        &[ALLOCATOR, HANDLER],
    );
    assert!(other.contains("build it again with a newer SDK"), "{other}");
    let other = refused(
        &[],
        &[ALLOCATOR, ("handle-http-request", "iiiiiiiiiiii", 1)],
    );
    assert!(other.contains("build it again with a newer SDK"), "{other}");
}
