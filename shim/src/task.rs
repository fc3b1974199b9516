//! The Task service: one method per RPC, which finds the container and translates. What the RPCs
//! do is in `create` and `container`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use containerd_shim::protos::api;
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::shim_async::Task;
use containerd_shim::protos::ttrpc::Result as RpcResult;
use containerd_shim::protos::ttrpc::r#async::TtrpcContext;

use crate::container::{Container, State, timestamp};
use crate::create;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::stats;
use crate::steps::Steps;

/// All containers of this shim's pod.
pub(crate) struct TaskService {
    daemon: Arc<Daemon>,
    containers: Mutex<HashMap<String, Slot>>,
}

/// A name that is taken.
enum Slot {
    /// By a container that is being made.
    Creating,
    Ready(Arc<Container>),
    /// By one that could not be made. containerd still asks to delete it, and only when that
    /// succeeds it forgets the task at once.
    Failed,
}

impl TaskService {
    pub(crate) fn new(daemon: Arc<Daemon>) -> TaskService {
        TaskService {
            daemon,
            containers: Mutex::default(),
        }
    }

    /// Whether there is no container, and none is being made.
    pub(crate) fn is_idle(&self) -> bool {
        let failed = |slot: &Slot| matches!(slot, Slot::Failed);
        self.lock().values().all(failed)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.containers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The container `id`; `exec_id` must be empty, as there are no further processes yet.
    fn find(&self, id: &str, exec_id: &str) -> Result<Arc<Container>, Error> {
        let container = match self.lock().get(id) {
            Some(Slot::Ready(container)) => Arc::clone(container),
            Some(Slot::Creating | Slot::Failed) | None => {
                return Err(Error::NotFound(format!("there is no task {id} here")));
            }
        };
        if !exec_id.is_empty() {
            return Err(Error::NotFound(format!(
                "task {id} has no process {exec_id}"
            )));
        }
        Ok(container)
    }

    /// Whether this asks to delete a container that could not be made; then it is forgotten.
    fn forget_failed(&self, request: &api::DeleteRequest) -> bool {
        let mut containers = self.lock();
        let failed =
            request.exec_id.is_empty() && matches!(containers.get(&request.id), Some(Slot::Failed));
        if failed {
            containers.remove(&request.id);
        }
        failed
    }

    async fn create_container(&self, request: &api::CreateTaskRequest) -> Result<u32, Error> {
        let id = &request.id;
        {
            let mut containers = self.lock();
            if !matches!(containers.get(id), None | Some(Slot::Failed)) {
                return Err(Error::AlreadyExists(format!("task {id} exists already")));
            }
            containers.insert(id.clone(), Slot::Creating);
        }
        // On a task of its own: a client that goes away must not leave half a container.
        let (daemon, owned) = (Arc::clone(&self.daemon), request.clone());
        let made = self
            .daemon
            .tasks
            .spawn(async move { create::create(&daemon, &owned).await });
        let made = made.await.unwrap_or_else(|error| {
            Err(Error::Internal(
                anyhow::Error::new(error).context("creating the container"),
            ))
        });
        let mut containers = self.lock();
        match made {
            Ok(container) => {
                let pid = container.pid();
                containers.insert(id.clone(), Slot::Ready(container));
                Ok(pid)
            }
            Err(error) => {
                tracing::warn!(id, "create: {error}");
                containers.insert(id.clone(), Slot::Failed);
                Err(error)
            }
        }
    }
}

#[async_trait]
impl Task for TaskService {
    async fn create(
        &self,
        _: &TtrpcContext,
        request: api::CreateTaskRequest,
    ) -> RpcResult<api::CreateTaskResponse> {
        let pid = self.create_container(&request).await?;
        Ok(api::CreateTaskResponse {
            pid,
            ..Default::default()
        })
    }

    async fn start(
        &self,
        _: &TtrpcContext,
        request: api::StartRequest,
    ) -> RpcResult<api::StartResponse> {
        let container = self.find(&request.id, &request.exec_id)?;
        let mut steps = Steps::begin("start", &request.id);
        container.start(&self.daemon).await?;
        steps.done("ready");
        Ok(api::StartResponse {
            pid: container.pid(),
            ..Default::default()
        })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> RpcResult<api::StateResponse> {
        let container = self.find(&request.id, &request.exec_id)?;
        let paths = container.paths();
        let mut response = api::StateResponse {
            id: request.id,
            bundle: container.bundle().display().to_string(),
            pid: container.pid(),
            stdin: paths.stdin.clone(),
            stdout: paths.stdout.clone(),
            stderr: paths.stderr.clone(),
            ..Default::default()
        };
        let status = match container.state() {
            State::Created => api::Status::CREATED,
            State::Running => api::Status::RUNNING,
            State::Stopped(exit) => {
                response.exit_status = exit.code;
                response.exited_at = MessageField::some(timestamp(exit.at));
                api::Status::STOPPED
            }
        };
        response.status = status.into();
        Ok(response)
    }

    async fn kill(&self, _: &TtrpcContext, request: api::KillRequest) -> RpcResult<api::Empty> {
        self.find(&request.id, &request.exec_id)?
            .kill(request.signal, request.all)
            .await?;
        Ok(api::Empty::new())
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: api::WaitRequest,
    ) -> RpcResult<api::WaitResponse> {
        let exit = self.find(&request.id, &request.exec_id)?.wait().await;
        Ok(api::WaitResponse {
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn delete(
        &self,
        _: &TtrpcContext,
        request: api::DeleteRequest,
    ) -> RpcResult<api::DeleteResponse> {
        if self.forget_failed(&request) {
            return Ok(api::DeleteResponse::default());
        }
        let container = self.find(&request.id, &request.exec_id)?;
        let exit = container.delete(&self.daemon).await?;
        self.lock().remove(&request.id);
        Ok(api::DeleteResponse {
            pid: container.pid(),
            exit_status: exit.code,
            exited_at: MessageField::some(timestamp(exit.at)),
            ..Default::default()
        })
    }

    async fn pids(
        &self,
        _: &TtrpcContext,
        request: api::PidsRequest,
    ) -> RpcResult<api::PidsResponse> {
        let container = self.find(&request.id, "")?;
        let pids = container
            .cgroup()
            .processes()
            .map_err(|error| Error::Internal(error.into()))?;
        let processes = pids.into_iter().map(|pid| api::ProcessInfo {
            pid: pid.cast_unsigned(),
            ..Default::default()
        });
        Ok(api::PidsResponse {
            processes: processes.collect(),
            ..Default::default()
        })
    }

    async fn stats(
        &self,
        _: &TtrpcContext,
        request: api::StatsRequest,
    ) -> RpcResult<api::StatsResponse> {
        let container = self.find(&request.id, "")?;
        let stats = stats::collect(container.cgroup()).map_err(Error::from)?;
        Ok(api::StatsResponse {
            stats: MessageField::some(stats),
            ..Default::default()
        })
    }

    async fn close_io(
        &self,
        _: &TtrpcContext,
        request: api::CloseIORequest,
    ) -> RpcResult<api::Empty> {
        let container = self.find(&request.id, &request.exec_id)?;
        if request.stdin {
            container.close_input();
        }
        Ok(api::Empty::new())
    }

    async fn connect(
        &self,
        _: &TtrpcContext,
        request: api::ConnectRequest,
    ) -> RpcResult<api::ConnectResponse> {
        let task_pid = match request.id.as_str() {
            "" => 0,
            id => self.find(id, "")?.pid(),
        };
        Ok(api::ConnectResponse {
            shim_pid: std::process::id(),
            task_pid,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..Default::default()
        })
    }

    async fn shutdown(
        &self,
        _: &TtrpcContext,
        request: api::ShutdownRequest,
    ) -> RpcResult<api::Empty> {
        if request.now || self.is_idle() {
            self.daemon.exit.cancel();
        }
        Ok(api::Empty::new())
    }

    async fn exec(&self, _: &TtrpcContext, _: api::ExecProcessRequest) -> RpcResult<api::Empty> {
        Err(unsupported(
            "exec: running a further process in a container",
        ))
    }

    async fn pause(&self, _: &TtrpcContext, _: api::PauseRequest) -> RpcResult<api::Empty> {
        Err(unsupported("pausing a container"))
    }

    async fn resume(&self, _: &TtrpcContext, _: api::ResumeRequest) -> RpcResult<api::Empty> {
        Err(unsupported("resuming a container"))
    }

    async fn update(&self, _: &TtrpcContext, _: api::UpdateTaskRequest) -> RpcResult<api::Empty> {
        Err(unsupported("changing the limits of a running container"))
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        _: api::ResizePtyRequest,
    ) -> RpcResult<api::Empty> {
        Err(unsupported("a terminal"))
    }

    async fn checkpoint(
        &self,
        _: &TtrpcContext,
        _: api::CheckpointTaskRequest,
    ) -> RpcResult<api::Empty> {
        Err(unsupported("a checkpoint of a container"))
    }
}

fn unsupported(what: &str) -> containerd_shim::protos::ttrpc::Error {
    Error::Unimplemented(format!("{what} is not supported by this version of catena")).into()
}
