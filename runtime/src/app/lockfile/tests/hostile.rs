//! Parsing survives what nobody would write: a short, deterministic stand-in
//! for the fuzz targets, so that every test run exercises it.

use super::*;

/// A small generator of numbers; the same ones at every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides.max(1)
    }
}

/// Some value inside a document.
fn descend<'d>(value: &'d mut Value, depth: usize, dice: &mut Dice) -> &'d mut Value {
    let size = value.as_object().map_or(0, |f| f.len()) + value.as_array().map_or(0, Vec::len);
    if depth == 0 || size == 0 {
        return value;
    }
    let at = dice.roll(size);
    let inner = match value {
        Value::Array(items) => &mut items[at],
        Value::Object(fields) => fields.values_mut().nth(at).unwrap(),
        _ => unreachable!("only lists and objects have a size"),
    };
    descend(inner, depth - 1, dice)
}

/// Reading must not panic, and must either take the document or give reasons.
fn survives(bytes: &[u8]) {
    match parse_lockfile(bytes) {
        Ok(app) => assert!(!app.triggers.is_empty()),
        Err(refusal) => {
            assert!(!refusal.is_empty());
            assert!(
                refusal
                    .problems
                    .iter()
                    .all(|problem| !problem.text.contains('\n'))
            );
            assert!(refusal.to_string().len() < 100_000);
        }
    }
}

#[test]
fn changed_bytes_do_no_harm() {
    let sound = sound().to_string().into_bytes();
    let mut dice = Dice(1);
    for _ in 0..3000 {
        let mut bytes = sound.clone();
        for _ in 0..=dice.roll(4) {
            let at = dice.roll(bytes.len());
            if bytes.is_empty() {
                break;
            }
            match dice.roll(3) {
                0 => bytes[at] = dice.roll(256) as u8,
                1 => bytes.truncate(at),
                _ => {
                    let (from, to) = (dice.roll(bytes.len()), dice.roll(bytes.len()));
                    let copy = bytes[from.min(to)..from.max(to)].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        survives(&bytes);
    }
}

#[test]
fn changed_values_do_no_harm() {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1e300),
        json!(""),
        json!("\0\n\"{{"),
        json!("{{ x }}"),
        json!("/../..."),
        json!("*://*:*"),
        json!("x".repeat(10_000)),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"id": "a", "private": true, "": 0}),
    ];
    let mut dice = Dice(2);
    for _ in 0..3000 {
        let mut document = sound();
        for _ in 0..=dice.roll(3) {
            let depth = dice.roll(7);
            let value = odd[dice.roll(odd.len())].clone();
            *descend(&mut document, depth, &mut dice) = value;
        }
        survives(document.to_string().as_bytes());
    }
}

#[test]
fn size_and_depth_do_no_harm() {
    survives(&vec![b'['; 1 << 20]);
    survives(format!("{{\"a\":{}", "[".repeat(1 << 16)).as_bytes());
    let mut document = sound();
    document["must_understand"] = json!(vec!["x"; 20_000]);
    document["components"] = json!(vec![json!({"id": "a"}); 20_000]);
    survives(document.to_string().as_bytes());
    let trigger = |i: usize| {
        json!({"id": i.to_string(), "trigger_type": "http",
               "trigger_config": {"component": "a", "route": format!("/:a/{i}")}})
    };
    let mut document = sound();
    document["triggers"] = (0..20_000).map(trigger).collect();
    survives(document.to_string().as_bytes());
}
