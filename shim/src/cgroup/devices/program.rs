//! A container's rules for devices as a program of the kernel's: a few comparisons for each rule, the last rule first.
//! `devices` loads it.

use super::{ANY, Rule};

/// One instruction for the kernel, as `bpf_insn` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Instruction {
    code: u8,
    /// The target in the lower half, the source in the upper.
    registers: u8,
    offset: i16,
    value: i32,
}

const fn instruction(code: u8, target: u8, source: u8, offset: i16, value: i32) -> Instruction {
    let registers = if cfg!(target_endian = "little") {
        target | source << 4
    } else {
        target << 4 | source
    };
    Instruction {
        code,
        registers,
        offset,
        value,
    }
}

const LOAD_WORD: u8 = 0x61;
const COPY: u8 = 0xbc;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const SET: u8 = 0xb7;
const IF_EQUAL: u8 = 0x15;
const UNLESS_EQUAL: u8 = 0x55;
const UNLESS_SAME: u8 = 0x5d;
const RETURN: u8 = 0x95;

// Where the program keeps what is asked; 0 is its answer, 1 what the kernel gives.
const ACCESS: u8 = 2;
const KIND: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// The rules as a program. The last one that applies decides; where none does, the answer is no.
pub(super) fn of(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        instruction(LOAD_WORD, ACCESS, 1, 0, 0),
        instruction(COPY, KIND, ACCESS, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, 1, 4, 0),
        instruction(LOAD_WORD, MINOR, 1, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let tests = tests(rule);
        let always = tests.is_empty();
        let count = tests.len();
        for (at, mut test) in tests.into_iter().enumerate() {
            if is_jump(test.code) {
                // Past the other tests and the two instructions of the answer.
                test.offset = i16::try_from(count - at + 1).unwrap_or(i16::MAX);
            }
            program.push(test);
        }
        program.extend(answer(rule.allow));
        if always {
            // The kernel takes no program with instructions that are never reached.
            return program;
        }
    }
    program.extend(answer(false));
    program
}

fn is_jump(code: u8) -> bool {
    [IF_EQUAL, UNLESS_EQUAL, UNLESS_SAME].contains(&code)
}

fn answer(allow: bool) -> [Instruction; 2] {
    [
        instruction(SET, 0, 0, 0, i32::from(allow)),
        instruction(RETURN, 0, 0, 0, 0),
    ]
}

/// What leads past a rule that does not apply.
fn tests(rule: &Rule) -> Vec<Instruction> {
    let mut tests = Vec::new();
    if let Some(kind) = rule.kind {
        tests.push(instruction(UNLESS_EQUAL, KIND, 0, 0, kind.cast_signed()));
    }
    if rule.access != ANY {
        tests.push(instruction(COPY, SCRATCH, ACCESS, 0, 0));
        tests.push(instruction(AND, SCRATCH, 0, 0, rule.access.cast_signed()));
        // All that is asked has to be allowed; some of it being denied is enough.
        tests.push(match rule.allow {
            true => instruction(UNLESS_SAME, SCRATCH, ACCESS, 0, 0),
            false => instruction(IF_EQUAL, SCRATCH, 0, 0, 0),
        });
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        tests.extend(number.map(|number| instruction(UNLESS_EQUAL, register, 0, 0, number)));
    }
    tests
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxDeviceCgroup;

    use super::super::{BLOCK, CHARACTER, MAKE, READ, USUAL, WRITE};
    use super::*;

    /// Runs a program as the kernel does.
    fn allows(program: &[Instruction], access: u32, kind: u32, major: i32, minor: i32) -> bool {
        let asked = [(access << 16 | kind).cast_signed(), major, minor];
        let mut registers = [0_i32; 16];
        let mut at = 0;
        loop {
            let step = program[at];
            let (target, source) = (
                (step.registers & 15) as usize,
                (step.registers >> 4) as usize,
            );
            let jump = match step.code {
                LOAD_WORD => {
                    registers[target] = asked[step.offset as usize / 4];
                    false
                }
                COPY => {
                    registers[target] = registers[source];
                    false
                }
                AND => {
                    registers[target] &= step.value;
                    false
                }
                SHIFT_RIGHT => {
                    registers[target] >>= step.value;
                    false
                }
                SET => {
                    registers[target] = step.value;
                    false
                }
                IF_EQUAL => registers[target] == step.value,
                UNLESS_EQUAL => registers[target] != step.value,
                UNLESS_SAME => registers[target] != registers[source],
                RETURN => return registers[0] == 1,
                code => panic!("no instruction {code}"),
            };
            at += 1 + if jump { step.offset as usize } else { 0 };
        }
    }

    fn rules(json: &str) -> Vec<Rule> {
        let lines: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).unwrap();
        lines.iter().map(Rule::from).collect()
    }

    #[test]
    fn what_is_not_named_is_denied() {
        let mut rules = rules(
            r#"[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]"#,
        );
        rules.extend(USUAL);
        let program = of(&rules);
        // A disk may be made, and not be read.
        assert!(allows(&program, MAKE, BLOCK, 254, 0));
        assert!(!allows(&program, READ, BLOCK, 254, 0));
        assert!(!allows(&program, MAKE | READ, BLOCK, 254, 0));
        assert!(allows(&program, READ | WRITE, CHARACTER, 1, 3));
        assert!(!allows(&program, READ, BLOCK, 1, 3));
        assert!(allows(&program, READ, CHARACTER, 136, 7));
        assert!(allows(&program, READ | WRITE, CHARACTER, 10, 229));
        assert!(!allows(&program, READ, CHARACTER, 10, 230));
    }

    #[test]
    fn the_last_rule_that_applies_decides() {
        let all = r#"{"allow":true,"access":"rwm"}"#;
        let program = of(&rules(&format!(
            r#"[{all},{{"allow":false,"type":"b","major":8,"access":"w"}}]"#
        )));
        assert!(allows(&program, READ, BLOCK, 8, 1));
        assert!(!allows(&program, READ | WRITE, BLOCK, 8, 1));
        assert!(allows(&program, WRITE, BLOCK, 9, 1));
        // Nothing stands behind a rule that always applies.
        let all = of(&rules(&format!(
            r#"[{{"allow":false,"access":"rwm"}},{all}]"#
        )));
        assert_eq!(all.len(), 6 + 2);
        assert!(allows(&all, ANY, BLOCK, 8, 0));
    }
}
