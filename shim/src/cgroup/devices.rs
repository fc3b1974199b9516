//! Which devices a container may use, where cgroups are of version 2: a small program that the kernel runs whenever a
//! process of the cgroup opens or makes a device file. The helper attaches it before anything of the image runs.
//! Version 1 has files for this, which libcontainer writes; of version 2 it knows nothing here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::Context as _;
use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType, Spec};

use super::Cgroup;

mod program;

use program::Instruction;

// What the kernel calls the kinds of access and of devices (linux/bpf.h, `bpf_cgroup_dev_ctx`).
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ANY: u32 = MAKE | READ | WRITE;
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

/// Lets a container use the devices that its specification names, and no others.
pub(crate) fn restrict(cgroup: &Cgroup, spec: &Spec) -> anyhow::Result<()> {
    let Cgroup::V2(folder) = cgroup else {
        return Ok(());
    };
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let devices = resources.and_then(|resources| resources.devices().as_deref());
    let mut rules: Vec<Rule> = devices.unwrap_or_default().iter().map(Rule::from).collect();
    rules.extend(USUAL);
    let folder = File::open(folder).context("opening the container's cgroup")?;
    load(&program::of(&rules))
        .and_then(|program| attach(&program, folder.as_raw_fd()))
        .context("restricting the container's devices, which takes a kernel with CGROUP_BPF")
}

/// What one line of a specification allows or denies. What is `None` stands for all.
#[derive(Clone, Copy, Debug)]
struct Rule {
    allow: bool,
    kind: Option<u32>,
    access: u32,
    major: Option<i32>,
    minor: Option<i32>,
}

impl From<&LinuxDeviceCgroup> for Rule {
    fn from(line: &LinuxDeviceCgroup) -> Rule {
        let letters = line.access().as_deref().unwrap_or("rwm");
        let bit = |letter, bit| if letters.contains(letter) { bit } else { 0 };
        // A negative number also stands for all.
        let number = |number: Option<i64>| number.and_then(|number| u32::try_from(number).ok());
        Rule {
            allow: line.allow(),
            kind: match line.typ() {
                Some(LinuxDeviceType::B) => Some(BLOCK),
                Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
                _ => None,
            },
            access: bit('m', MAKE) | bit('r', READ) | bit('w', WRITE),
            major: number(line.major()).map(u32::cast_signed),
            minor: number(line.minor()).map(u32::cast_signed),
        }
    }
}

/// What every runtime allows: the devices of an ordinary `/dev`, terminals, and to make what may not be opened.
const USUAL: [Rule; 11] = [
    making(BLOCK),
    making(CHARACTER),
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
];

const fn making(kind: u32) -> Rule {
    Rule {
        allow: true,
        kind: Some(kind),
        access: MAKE,
        major: None,
        minor: None,
    }
}

const fn character(major: i32, minor: Option<i32>) -> Rule {
    Rule {
        allow: true,
        kind: Some(CHARACTER),
        access: ANY,
        major: Some(major),
        minor,
    }
}

// Of bpf(2): commands, and the kind of program.
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE_POINT: u32 = 6;
/// Beside the programs that are there, and those of the cgroups above: all of them have to allow.
const ALLOW_MULTI: u32 = 2;

#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version_and_flags: u64,
}

#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    point: u32,
    flags: u32,
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log: [0; 2],
        version_and_flags: 0,
    };
    let descriptor = bpf(PROG_LOAD, &load)?;
    #[expect(unsafe_code, reason = "the call returns a bare descriptor")]
    // SAFETY: the kernel just opened it for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The cgroup keeps the program until it is removed.
fn attach(program: &OwnedFd, cgroup: RawFd) -> io::Result<()> {
    let attach = Attach {
        cgroup: cgroup.cast_unsigned(),
        program: program.as_raw_fd().cast_unsigned(),
        point: CGROUP_DEVICE_POINT,
        flags: ALLOW_MULTI,
    };
    bpf(PROG_ATTACH, &attach).map(drop)
}

#[expect(unsafe_code, reason = "no library at hand has this system call")]
fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: `attributes` is the beginning of a `bpf_attr` of that command, as long as is said, and what it points to
    // outlives the call. The kernel takes the rest as zeros.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    match RawFd::try_from(answer) {
        Ok(descriptor) if descriptor >= 0 => Ok(descriptor),
        _ => Err(io::Error::last_os_error()),
    }
}
