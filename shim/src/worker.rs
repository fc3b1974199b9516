//! The worker.

use std::collections::HashMap;
use std::sync::Arc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use serde::{Deserialize, Serialize};

use crate::channel::Channel;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    Go,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Listening { address: String },
    Failed { reason: String },
}

#[derive(Clone, Debug)]
pub(crate) struct WorkerExecutor {
    channel: Arc<Channel>,
}

impl WorkerExecutor {
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        WorkerExecutor { channel }
    }
}

impl Executor for WorkerExecutor {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let _ = &self.channel;
        Ok(())
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        Ok(())
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}
