//! The Task service: one method per RPC, which finds the container or the further process in it and
//! translates. What the RPCs do is in `create`, `container` and `exec`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use async_trait::async_trait;
use containerd_shim::protos::api;
use containerd_shim::protos::protobuf::MessageField;
use containerd_shim::protos::shim_async::Task;
use containerd_shim::protos::ttrpc::Result as RpcResult;
use containerd_shim::protos::ttrpc::r#async::TtrpcContext;

use crate::container::{Container, timestamp};
use crate::create;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::exec::{self, Exec};
use crate::process::State;
use crate::stdio::Stdio;
use crate::steps::Steps;
use crate::{stats, update};

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

    /// The container `id`.
    fn find(&self, id: &str) -> Result<Arc<Container>, Error> {
        match self.lock().get(id) {
            Some(Slot::Ready(container)) => Ok(Arc::clone(container)),
            Some(Slot::Creating | Slot::Failed) | None => {
                Err(Error::NotFound(format!("there is no task {id} here")))
            }
        }
    }

    /// The container `id`, and its further process `exec_id` if that is not empty.
    fn find_process(
        &self,
        id: &str,
        exec_id: &str,
    ) -> Result<(Arc<Container>, Option<Arc<Exec>>), Error> {
        let container = self.find(id)?;
        let exec = match exec_id {
            "" => None,
            exec_id => Some(container.exec(exec_id)?),
        };
        Ok((container, exec))
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
        let (container, exec) = self.find_process(&request.id, &request.exec_id)?;
        let pid = match exec {
            Some(exec) => {
                exec.start(&self.daemon, &container).await?;
                exec.pid()
            }
            None => {
                let mut steps = Steps::begin("start", &request.id);
                container.start(&self.daemon).await?;
                steps.done("ready");
                container.pid()
            }
        };
        Ok(api::StartResponse {
            pid,
            ..Default::default()
        })
    }

    async fn state(
        &self,
        _: &TtrpcContext,
        request: api::StateRequest,
    ) -> RpcResult<api::StateResponse> {
        let (container, exec) = self.find_process(&request.id, &request.exec_id)?;
        let (pid, paths, terminal, state) = match &exec {
            Some(exec) => (exec.pid(), exec.paths(), exec.has_terminal(), exec.state()),
            None => {
                let terminal = container.has_terminal();
                (
                    container.pid(),
                    container.paths(),
                    terminal,
                    container.state(),
                )
            }
        };
        let mut response = api::StateResponse {
            id: request.id,
            exec_id: request.exec_id,
            bundle: container.bundle().display().to_string(),
            pid,
            stdin: paths.stdin.clone(),
            stdout: paths.stdout.clone(),
            stderr: paths.stderr.clone(),
            terminal,
            ..Default::default()
        };
        let status = match state {
            State::Created => api::Status::CREATED,
            State::Running => api::Status::RUNNING,
            State::Paused => api::Status::PAUSED,
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
        match self.find_process(&request.id, &request.exec_id)? {
            (_, Some(exec)) => exec.kill(request.signal)?,
            (container, None) => container.kill(request.signal, request.all).await?,
        }
        Ok(api::Empty::new())
    }

    async fn wait(
        &self,
        _: &TtrpcContext,
        request: api::WaitRequest,
    ) -> RpcResult<api::WaitResponse> {
        let exit = match self.find_process(&request.id, &request.exec_id)? {
            (_, Some(exec)) => exec.wait().await,
            (container, None) => container.wait().await,
        };
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
        let (pid, exit) = match self.find_process(&request.id, &request.exec_id)? {
            (container, Some(exec)) => {
                let exit = exec.delete().await?;
                container.remove_exec(exec.id());
                (exec.pid(), exit)
            }
            (container, None) => {
                let exit = container.delete(&self.daemon).await?;
                self.lock().remove(&request.id);
                (container.pid(), exit)
            }
        };
        Ok(api::DeleteResponse {
            pid,
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
        let container = self.find(&request.id)?;
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
        let container = self.find(&request.id)?;
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
        let (container, exec) = self.find_process(&request.id, &request.exec_id)?;
        if request.stdin {
            match &exec {
                Some(exec) => exec.stdio().into_iter().for_each(Stdio::close_input),
                None => container.stdio().close_input(),
            }
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
            id => self.find(id)?.pid(),
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

    async fn exec(
        &self,
        _: &TtrpcContext,
        request: api::ExecProcessRequest,
    ) -> RpcResult<api::Empty> {
        let container = self.find(&request.id)?;
        exec::add(&self.daemon, &container, &request).await?;
        Ok(api::Empty::new())
    }

    async fn pause(&self, _: &TtrpcContext, request: api::PauseRequest) -> RpcResult<api::Empty> {
        self.find(&request.id)?.pause(&self.daemon).await?;
        Ok(api::Empty::new())
    }

    async fn resume(&self, _: &TtrpcContext, request: api::ResumeRequest) -> RpcResult<api::Empty> {
        self.find(&request.id)?.resume(&self.daemon).await?;
        Ok(api::Empty::new())
    }

    async fn update(
        &self,
        _: &TtrpcContext,
        request: api::UpdateTaskRequest,
    ) -> RpcResult<api::Empty> {
        let container = self.find(&request.id)?;
        let resources = update::resources(request.resources.as_ref())?;
        container.update(resources).await?;
        Ok(api::Empty::new())
    }

    async fn resize_pty(
        &self,
        _: &TtrpcContext,
        request: api::ResizePtyRequest,
    ) -> RpcResult<api::Empty> {
        let (container, exec) = self.find_process(&request.id, &request.exec_id)?;
        let resize = |stdio: &Stdio| stdio.resize(request.width, request.height);
        let resized = match &exec {
            Some(exec) => exec.stdio().map_or(Ok(false), resize),
            None => resize(container.stdio()),
        };
        match resized
            .context("setting the size of a terminal")
            .map_err(Error::from)?
        {
            true => Ok(api::Empty::new()),
            false => Err(Error::FailedPrecondition(format!(
                "task {} {}: there is no terminal whose size could be set",
                request.id, request.exec_id
            ))
            .into()),
        }
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
