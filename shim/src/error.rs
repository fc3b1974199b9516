//! The one error that leaves the Task service. Its variants are the gRPC codes that containerd acts
//! on, and the conversion to ttrpc stands here. Modules below containerd's edge use `anyhow` and
//! end up in [`Error::Internal`]; nothing here logs.

use containerd_shim::protos::ttrpc;

/// Why an RPC of the Task service fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request or the image is malformed: asking again cannot help.
    #[error("{0}")]
    InvalidArgument(String),
    /// No such task or process, or it has exited already.
    #[error("{0}")]
    NotFound(String),
    /// A task of this id exists.
    #[error("{0}")]
    AlreadyExists(String),
    /// The image asks for what this node does not have, or the task is in the wrong state.
    #[error("{0}")]
    FailedPrecondition(String),
    /// The call is not supported.
    #[error("{0}")]
    Unimplemented(String),
    /// Anything else; the text holds the whole chain of causes.
    #[error("{0:#}")]
    Internal(#[from] anyhow::Error),
}

impl From<Error> for ttrpc::Error {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::InvalidArgument(_) => ttrpc::Code::INVALID_ARGUMENT,
            Error::NotFound(_) => ttrpc::Code::NOT_FOUND,
            Error::AlreadyExists(_) => ttrpc::Code::ALREADY_EXISTS,
            Error::FailedPrecondition(_) => ttrpc::Code::FAILED_PRECONDITION,
            Error::Unimplemented(_) => ttrpc::Code::UNIMPLEMENTED,
            Error::Internal(_) => ttrpc::Code::INTERNAL,
        };
        ttrpc::Error::RpcStatus(ttrpc::get_status(code, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn an_internal_error_tells_its_whole_chain() {
        let cause = std::io::Error::from_raw_os_error(libc::ENOSPC);
        let error = Err::<(), _>(cause)
            .context("creating container c1")
            .unwrap_err();
        let ttrpc::Error::RpcStatus(status) = ttrpc::Error::from(Error::from(error)) else {
            panic!("not a status");
        };
        assert_eq!(status.code(), ttrpc::Code::INTERNAL);
        assert_eq!(
            status.message(),
            "creating container c1: No space left on device (os error 28)"
        );
    }
}
