//! Every function of both interfaces once.

use crate::bindings::fermyon::{spin, spin2_0_0};

pub(crate) fn unversioned(at: &str) -> String {
    use spin::redis::{self, RedisParameter};
    let arguments = [RedisParameter::Binary(b"v0".to_vec())];
    [
        format!("{:?}", redis::set(at, "v0", b"7")),
        format!("{:?}", redis::get(at, "v0")),
        format!("{:?}", redis::get(at, "nothing")),
        format!("{:?}", redis::incr(at, "v0")),
        format!("{:?}", redis::publish(at, "channel", b"message")),
        format!(
            "{:?}",
            redis::sadd(at, "v0-set", &["a".to_owned(), "b".to_owned()])
        ),
        format!("{:?}", redis::srem(at, "v0-set", &["b".to_owned()])),
        format!("{:?}", redis::smembers(at, "v0-set")),
        format!("{:?}", redis::execute(at, "get", &arguments)),
        format!("{:?}", redis::incr(at, "v0-set")),
        format!(
            "{:?}",
            redis::del(at, &["v0".to_owned(), "v0-set".to_owned()])
        ),
    ]
    .join("\n")
}

pub(crate) fn two(at: &str) -> String {
    use spin2_0_0::redis::{Connection, RedisParameter};
    let redis = match Connection::open(at) {
        Ok(redis) => redis,
        Err(error) => return format!("{error:?}"),
    };
    let arguments = [
        RedisParameter::Binary(b"v2-list".to_vec()),
        RedisParameter::Int64(0),
        RedisParameter::Int64(-1),
    ];
    let pushed = [
        RedisParameter::Binary(b"v2-list".to_vec()),
        RedisParameter::Int64(1),
        RedisParameter::Binary(b"x".to_vec()),
    ];
    [
        format!("{:?}", redis.set("v2", b"7")),
        format!("{:?}", redis.get("v2")),
        format!("{:?}", redis.get("nothing")),
        format!("{:?}", redis.incr("v2")),
        format!("{:?}", redis.publish("channel", b"message")),
        format!(
            "{:?}",
            redis.sadd("v2-set", &["a".to_owned(), "b".to_owned()])
        ),
        format!("{:?}", redis.srem("v2-set", &["b".to_owned()])),
        format!("{:?}", redis.smembers("v2-set")),
        format!("{:?}", redis.execute("rpush", &pushed)),
        format!("{:?}", redis.execute("lrange", &arguments)),
        format!("{:?}", redis.execute("ping", &[])),
        format!(
            "{:?}",
            redis.execute("get", &[RedisParameter::Binary(b"nothing".to_vec())])
        ),
        format!("{:?}", redis.execute("monitor", &[])),
        format!("{:?}", redis.incr("v2-set")),
        format!(
            "{:?}",
            redis.del(&["v2".to_owned(), "v2-set".to_owned(), "v2-list".to_owned()])
        ),
    ]
    .join("\n")
}
