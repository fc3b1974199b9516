//! The seccomp filter of a process that joins a container. libcontainer gives the container's
//! filter to the first process only, so it is put on here, as the last thing before the program.

use std::collections::HashMap;

use libcontainer::oci_spec::runtime::{LinuxSeccomp, Spec};
use libcontainer::seccomp;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};

/// Runs what another executor runs, under the container's filter.
#[derive(Clone)]
pub(super) struct Confined {
    filter: Option<LinuxSeccomp>,
    program: Box<dyn Executor>,
}

impl Confined {
    pub(super) fn new(filter: Option<LinuxSeccomp>, program: Box<dyn Executor>) -> Confined {
        Confined { filter, program }
    }
}

impl Executor for Confined {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        if let Some(filter) = &self.filter {
            let failed = |reason: String| ExecutorError::Other(reason);
            let listener = seccomp::initialize_seccomp(filter)
                .map_err(|error| failed(format!("putting on the seccomp filter: {error}")))?;
            if listener.is_some() {
                return Err(failed(
                    "the container's seccomp filter asks a listener, which exec does not support"
                        .to_owned(),
                ));
            }
        }
        self.program.exec(spec)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.program.validate(spec)
    }

    fn setup_envs(&self, envs: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        self.program.setup_envs(envs)
    }
}
