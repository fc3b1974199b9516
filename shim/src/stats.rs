//! A container's resource usage, read from its cgroup's files into containerd's messages: version 1
//! counts CPU time in nanoseconds, version 2 in microseconds, and each has its own message.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;
use containerd_shim::protos::cgroups::metrics as v1;
use containerd_shim::protos::cgroups_v2::metrics as v2;
#[cfg(test)]
use containerd_shim::protos::protobuf::Message;
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::protobuf::well_known_types::any::Any;

use crate::cgroup::{Cgroup, number};
use crate::events::any;

/// What stands for "no limit".
const UNLIMITED: u64 = u64::MAX;

/// The usage of one container, as containerd wants it.
pub(crate) fn collect(cgroup: &Cgroup) -> anyhow::Result<Any> {
    match cgroup {
        Cgroup::V1(_) => any("io.containerd.cgroups.v1", &version_1(cgroup)?),
        Cgroup::V2(folder) => any("io.containerd.cgroups.v2", &version_2(folder)?),
    }
}

/// What a file says; nothing where there is none, since not every kernel and every node counts everything.
fn read(folder: &Path, file: &str) -> anyhow::Result<String> {
    match fs::read_to_string(folder.join(file)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.with_context(|| format!("reading {file} of the container's cgroup")),
    }
}

/// The one number in a file, as `read` has it.
fn value(text: &str, file: &str) -> anyhow::Result<u64> {
    match text.trim() {
        "" => Ok(0),
        "max" => Ok(UNLIMITED),
        text => text
            .parse()
            .with_context(|| format!("{file} of the container's cgroup says {text:?}")),
    }
}

fn version_1(cgroup: &Cgroup) -> anyhow::Result<v1::Metrics> {
    let read = |controller: &str, file: &str| -> anyhow::Result<String> {
        let folder = cgroup.folder(controller);
        folder.map_or(Ok(String::new()), |folder| read(folder, file))
    };
    let value = |controller: &str, file: &str| value(&read(controller, file)?, file);

    let mut metrics = v1::Metrics::new();
    metrics.cpu = MessageField::some(v1::CPUStat {
        usage: MessageField::some(cpu_usage(&read, &value)?),
        throttling: MessageField::some(throttling(&read("cpu", "cpu.stat")?)),
        ..Default::default()
    });

    let entry = |prefix: &str| {
        anyhow::Ok(MessageField::some(v1::MemoryEntry {
            limit: value("memory", &format!("{prefix}.limit_in_bytes"))?,
            usage: value("memory", &format!("{prefix}.usage_in_bytes"))?,
            max: value("memory", &format!("{prefix}.max_usage_in_bytes"))?,
            failcnt: value("memory", &format!("{prefix}.failcnt"))?,
            ..Default::default()
        }))
    };
    let mut memory = memory_stat(&read("memory", "memory.stat")?);
    memory.usage = entry("memory")?;
    memory.swap = entry("memory.memsw")?;
    memory.kernel = entry("memory.kmem")?;
    memory.kernel_tcp = entry("memory.kmem.tcp")?;
    metrics.memory = MessageField::some(memory);

    let oom = read("memory", "memory.oom_control")?;
    metrics.memory_oom_control = MessageField::some(v1::MemoryOomControl {
        oom_kill_disable: number(&oom, "oom_kill_disable").unwrap_or(0),
        under_oom: number(&oom, "under_oom").unwrap_or(0),
        oom_kill: number(&oom, "oom_kill").unwrap_or(0),
        ..Default::default()
    });
    metrics.pids = MessageField::some(v1::PidsStat {
        current: value("pids", "pids.current")?,
        limit: processes_limit(value("pids", "pids.max")?),
        ..Default::default()
    });
    let moved = |what: &str| {
        let text = read("blkio", &format!("blkio.throttle.{what}_recursive"))?;
        anyhow::Ok(block_io(&text))
    };
    metrics.blkio = MessageField::some(v1::BlkIOStat {
        io_service_bytes_recursive: moved("io_service_bytes")?,
        io_serviced_recursive: moved("io_serviced")?,
        ..Default::default()
    });
    Ok(metrics)
}

/// Lines such as `8:0 Read 4096`, of one device and one kind of operation; the sum of all stands
/// without a device.
fn block_io(stat: &str) -> Vec<v1::BlkIOEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = device(words.next()?)?;
        Some(v1::BlkIOEntry {
            major,
            minor,
            op: words.next()?.to_owned(),
            value: words.next()?.parse().ok()?,
            ..Default::default()
        })
    };
    stat.lines().filter_map(entry).collect()
}

fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// No limit is 0 here, as runc tells it.
fn processes_limit(limit: u64) -> u64 {
    if limit == UNLIMITED { 0 } else { limit }
}

fn cpu_usage(
    read: &impl Fn(&str, &str) -> anyhow::Result<String>,
    value: &impl Fn(&str, &str) -> anyhow::Result<u64>,
) -> anyhow::Result<v1::CPUUsage> {
    let times = read("cpuacct", "cpuacct.stat")?;
    let ticks = |key: &str| {
        number(&times, key)
            .unwrap_or(0)
            .saturating_mul(nanoseconds_per_tick())
    };
    let per_cpu = read("cpuacct", "cpuacct.usage_percpu")?;
    Ok(v1::CPUUsage {
        total: value("cpuacct", "cpuacct.usage")?,
        user: ticks("user"),
        kernel: ticks("system"),
        per_cpu: per_cpu
            .split_whitespace()
            .filter_map(|text| text.parse().ok())
            .collect(),
        ..Default::default()
    })
}

fn throttling(stat: &str) -> v1::Throttle {
    v1::Throttle {
        periods: number(stat, "nr_periods").unwrap_or(0),
        throttled_periods: number(stat, "nr_throttled").unwrap_or(0),
        throttled_time: number(stat, "throttled_time").unwrap_or(0),
        ..Default::default()
    }
}

fn memory_stat(stat: &str) -> v1::MemoryStat {
    let field = |key: &str| number(stat, key).unwrap_or(0);
    v1::MemoryStat {
        cache: field("cache"),
        rss: field("rss"),
        rss_huge: field("rss_huge"),
        mapped_file: field("mapped_file"),
        dirty: field("dirty"),
        writeback: field("writeback"),
        pg_pg_in: field("pgpgin"),
        pg_pg_out: field("pgpgout"),
        pg_fault: field("pgfault"),
        pg_maj_fault: field("pgmajfault"),
        inactive_anon: field("inactive_anon"),
        active_anon: field("active_anon"),
        inactive_file: field("inactive_file"),
        active_file: field("active_file"),
        unevictable: field("unevictable"),
        hierarchical_memory_limit: field("hierarchical_memory_limit"),
        hierarchical_swap_limit: field("hierarchical_memsw_limit"),
        total_cache: field("total_cache"),
        total_rss: field("total_rss"),
        total_rss_huge: field("total_rss_huge"),
        total_mapped_file: field("total_mapped_file"),
        total_dirty: field("total_dirty"),
        total_writeback: field("total_writeback"),
        total_pg_pg_in: field("total_pgpgin"),
        total_pg_pg_out: field("total_pgpgout"),
        total_pg_fault: field("total_pgfault"),
        total_pg_maj_fault: field("total_pgmajfault"),
        total_inactive_anon: field("total_inactive_anon"),
        total_active_anon: field("total_active_anon"),
        total_inactive_file: field("total_inactive_file"),
        total_active_file: field("total_active_file"),
        total_unevictable: field("total_unevictable"),
        ..Default::default()
    }
}

fn version_2(folder: &Path) -> anyhow::Result<v2::Metrics> {
    let read = |file: &str| read(folder, file);
    let value = |file: &str| value(&read(file)?, file);
    let mut metrics = v2::Metrics::new();

    let cpu = read("cpu.stat")?;
    let time = |key: &str| number(&cpu, key).unwrap_or(0);
    metrics.cpu = MessageField::some(v2::CPUStat {
        usage_usec: time("usage_usec"),
        user_usec: time("user_usec"),
        system_usec: time("system_usec"),
        nr_periods: time("nr_periods"),
        nr_throttled: time("nr_throttled"),
        throttled_usec: time("throttled_usec"),
        ..Default::default()
    });

    let stat = read("memory.stat")?;
    let field = |key: &str| number(&stat, key).unwrap_or(0);
    metrics.memory = MessageField::some(v2::MemoryStat {
        anon: field("anon"),
        file: field("file"),
        kernel_stack: field("kernel_stack"),
        slab: field("slab"),
        sock: field("sock"),
        shmem: field("shmem"),
        file_mapped: field("file_mapped"),
        file_dirty: field("file_dirty"),
        file_writeback: field("file_writeback"),
        anon_thp: field("anon_thp"),
        inactive_anon: field("inactive_anon"),
        active_anon: field("active_anon"),
        inactive_file: field("inactive_file"),
        active_file: field("active_file"),
        unevictable: field("unevictable"),
        slab_reclaimable: field("slab_reclaimable"),
        slab_unreclaimable: field("slab_unreclaimable"),
        pgfault: field("pgfault"),
        pgmajfault: field("pgmajfault"),
        usage: value("memory.current")?,
        usage_limit: value("memory.max")?,
        max_usage: value("memory.peak")?,
        swap_usage: value("memory.swap.current")?,
        swap_limit: value("memory.swap.max")?,
        ..Default::default()
    });

    let events = read("memory.events")?;
    let count = |key: &str| number(&events, key).unwrap_or(0);
    metrics.memory_events = MessageField::some(v2::MemoryEvents {
        low: count("low"),
        high: count("high"),
        max: count("max"),
        oom: count("oom"),
        oom_kill: count("oom_kill"),
        ..Default::default()
    });
    metrics.pids = MessageField::some(v2::PidsStat {
        current: value("pids.current")?,
        limit: processes_limit(value("pids.max")?),
        ..Default::default()
    });
    metrics.io = MessageField::some(v2::IOStat {
        usage: read("io.stat")?.lines().filter_map(io_entry).collect(),
        ..Default::default()
    });
    Ok(metrics)
}

/// A line such as `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`.
fn io_entry(line: &str) -> Option<v2::IOEntry> {
    let (major, minor) = device(line.split_whitespace().next()?)?;
    let count = |key: &str| {
        let counts = line
            .split_whitespace()
            .filter_map(|word| word.split_once('='));
        let mut counts = counts.filter(|(name, _)| *name == key);
        counts
            .next()
            .and_then(|(_, count)| count.parse().ok())
            .unwrap_or(0)
    };
    Some(v2::IOEntry {
        major,
        minor,
        rbytes: count("rbytes"),
        wbytes: count("wbytes"),
        rios: count("rios"),
        wios: count("wios"),
        ..Default::default()
    })
}

/// `cpuacct.stat` counts in clock ticks.
fn nanoseconds_per_tick() -> u64 {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)
        .ok()
        .flatten();
    1_000_000_000
        / ticks
            .and_then(|ticks| u64::try_from(ticks).ok())
            .unwrap_or(100)
            .max(1)
}

/// Reads a message back, for tests.
#[cfg(test)]
fn decode<M: Message>(any: &Any) -> M {
    M::parse_from_bytes(&any.value).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn version_1_is_in_nanoseconds_and_bytes() {
        let cpu = folder(&[
            ("cpuacct.usage", "5000000000\n"),
            ("cpuacct.usage_percpu", "2000000000 3000000000 \n"),
            ("cpuacct.stat", "user 300\nsystem 200\n"),
            (
                "cpu.stat",
                "nr_periods 4\nnr_throttled 2\nthrottled_time 77\n",
            ),
        ]);
        let memory = folder(&[
            ("memory.usage_in_bytes", "4096\n"),
            ("memory.limit_in_bytes", "8192\n"),
            ("memory.stat", "cache 1\nrss 2\ntotal_inactive_file 3\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
            ),
        ]);
        let pids = folder(&[("pids.current", "6\n"), ("pids.max", "max\n")]);
        let blkio = folder(&[(
            "blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 4096\n8:0 Total 4096\nTotal 4096\n",
        )]);
        let folders = [
            ("blkio", &blkio),
            ("cpu", &cpu),
            ("cpuacct", &cpu),
            ("memory", &memory),
            ("pids", &pids),
        ];
        let folders = folders.map(|(name, folder)| (name.to_owned(), folder.path().to_owned()));
        let any = collect(&Cgroup::V1(folders.into())).unwrap();

        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
        let metrics: v1::Metrics = decode(&any);
        assert_eq!(metrics.cpu.usage.total, 5_000_000_000);
        assert_eq!(metrics.cpu.usage.user, 3_000_000_000);
        assert_eq!(metrics.cpu.usage.kernel, 2_000_000_000);
        assert_eq!(metrics.cpu.usage.per_cpu, [2_000_000_000, 3_000_000_000]);
        assert_eq!(metrics.cpu.throttling.throttled_time, 77);
        assert_eq!(metrics.memory.usage.usage, 4096);
        assert_eq!(metrics.memory.usage.limit, 8192);
        assert_eq!(metrics.memory.total_inactive_file, 3);
        assert_eq!(metrics.memory_oom_control.oom_kill, 1);
        assert_eq!((metrics.pids.current, metrics.pids.limit), (6, 0));
        let moved = &metrics.blkio.io_service_bytes_recursive;
        assert_eq!(moved.len(), 2, "{moved:?}");
        let first = (moved[0].major, moved[0].minor, moved[0].value);
        assert_eq!((first, moved[0].op.as_str()), ((8, 0, 4096), "Read"));
    }

    #[test]
    fn version_2_is_in_microseconds_and_bytes() {
        let folder = folder(&[
            (
                "cpu.stat",
                "usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\n",
            ),
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.stat", "anon 1\ninactive_file 3\n"),
            ("memory.events", "oom 2\noom_kill 1\n"),
            ("pids.current", "6\n"),
            ("pids.max", "max\n"),
            (
                "io.stat",
                "8:16 \n8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\n",
            ),
        ]);
        let any = collect(&Cgroup::V2(folder.path().into())).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let metrics: v2::Metrics = decode(&any);
        assert_eq!(metrics.cpu.usage_usec, 5_000_000);
        assert_eq!(metrics.memory.usage, 4096);
        assert_eq!(metrics.memory.usage_limit, u64::MAX);
        assert_eq!(metrics.memory.inactive_file, 3);
        assert_eq!(metrics.memory_events.oom_kill, 1);
        assert_eq!((metrics.pids.current, metrics.pids.limit), (6, 0));
        let io = &metrics.io.usage[1];
        assert_eq!((io.major, io.minor, io.rbytes), (8, 0, 4096));
        assert_eq!((io.wbytes, io.rios, io.wios), (512, 1, 2));

        // What is there and cannot be understood is not nothing.
        fs::write(folder.path().join("memory.current"), "much\n").unwrap();
        let error = collect(&Cgroup::V2(folder.path().into())).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("memory.current"), "{error}");
    }
}
