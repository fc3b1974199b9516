//! The clients of databases and brokers that one component has.

use std::sync::Arc;

use super::dial::Dialer;
use super::mqtt::Mqtt;
use super::mysql::Mysql;
use super::postgres::Postgres;
use super::redis::Redis;

/// One client for each protocol; none connects before a guest asks it to.
pub(crate) struct Clients {
    redis: Arc<Redis>,
    postgres: Arc<Postgres>,
    mysql: Arc<Mysql>,
    mqtt: Arc<Mqtt>,
}

impl Clients {
    pub(crate) fn new(dialer: Dialer) -> Self {
        let dialer = Arc::new(dialer);
        Self {
            redis: Arc::new(Redis::new(Arc::clone(&dialer))),
            postgres: Arc::new(Postgres::new(Arc::clone(&dialer))),
            mysql: Arc::new(Mysql::new(Arc::clone(&dialer))),
            mqtt: Arc::new(Mqtt::new(dialer)),
        }
    }

    pub(crate) fn redis(&self) -> Arc<Redis> {
        Arc::clone(&self.redis)
    }

    pub(crate) fn postgres(&self) -> Arc<Postgres> {
        Arc::clone(&self.postgres)
    }

    pub(crate) fn mysql(&self) -> Arc<Mysql> {
        Arc::clone(&self.mysql)
    }

    pub(crate) fn mqtt(&self) -> Arc<Mqtt> {
        Arc::clone(&self.mqtt)
    }
}
