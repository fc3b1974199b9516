//! containerd's content store over its gRPC API: which image a container was made from, and the
//! blobs of that image. Failures stay failures here; what is read is verified by its reader.

use std::error::Error as _;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;
use catena_runtime::image::{Blobs, Descriptor, Digest};
use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    GetContainerRequest, GetImageRequest, InfoRequest, ReadContentRequest, ReadContentResponse,
};
use oci_spec::image::{DescriptorBuilder, MediaType};
use tokio::runtime::Handle;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// containerd sends pieces of 1 MiB; this leaves room.
const LARGEST_MESSAGE: usize = 32 << 20;

/// A connection to containerd, for one namespace.
#[derive(Clone, Debug)]
pub(crate) struct ContentStore {
    channel: Channel,
    namespace: String,
    runtime: Handle,
}

/// What a container was made from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// An image, and its target.
    Image(Box<Descriptor>),
    /// An image that containerd no longer has.
    Removed(String),
    /// A root file system only.
    None,
}

impl ContentStore {
    /// Connects to containerd's socket.
    pub(crate) async fn connect(socket: &Path, namespace: &str) -> anyhow::Result<ContentStore> {
        let channel = containerd_client::connect(socket)
            .await
            .with_context(|| format!("connecting to containerd at {}", socket.display()))?;
        Ok(ContentStore {
            channel,
            namespace: namespace.to_owned(),
            runtime: Handle::current(),
        })
    }

    /// Finds the image of a container.
    pub(crate) async fn origin(&self, container: &str) -> anyhow::Result<Origin> {
        let request = self.request(GetContainerRequest {
            id: container.to_owned(),
        })?;
        let found = ContainersClient::new(self.channel.clone())
            .get(request)
            .await;
        let found = found
            .map_err(plain)
            .with_context(|| format!("asking containerd about container {container}"))?;
        let image = found
            .into_inner()
            .container
            .map(|container| container.image)
            .unwrap_or_default();
        if image.is_empty() {
            return Ok(Origin::None);
        }
        let request = self.request(GetImageRequest {
            name: image.clone(),
        })?;
        let target = match ImagesClient::new(self.channel.clone()).get(request).await {
            Ok(found) => found.into_inner().image.and_then(|image| image.target),
            Err(status) if status.code() == Code::NotFound => return Ok(Origin::Removed(image)),
            Err(status) => {
                return Err(plain(status))
                    .with_context(|| format!("asking containerd about the image {image}"));
            }
        };
        let target = target.with_context(|| format!("containerd's image {image} has no target"))?;
        let descriptor = DescriptorBuilder::default()
            .media_type(MediaType::from(target.media_type.as_str()))
            .digest(target.digest.parse::<oci_spec::image::Digest>()?)
            .size(u64::try_from(target.size).context("the image's target has a negative size")?)
            .build()?;
        Ok(Origin::Image(Box::new(descriptor)))
    }

    fn request<T>(&self, message: T) -> anyhow::Result<Request<T>> {
        let mut request = Request::new(message);
        let namespace = self.namespace.parse().context("the namespace's name")?;
        request
            .metadata_mut()
            .insert("containerd-namespace", namespace);
        Ok(request)
    }

    fn client(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(LARGEST_MESSAGE)
    }
}

impl Blobs for ContentStore {
    fn open(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let request = ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        };
        let request = self.request(request).map_err(io::Error::other)?;
        let stream = self
            .runtime
            .block_on(self.client().read(request))
            .map_err(failure)?;
        let mut reader = Pieces {
            stream: stream.into_inner(),
            runtime: &self.runtime,
            piece: ReadContentResponse::default(),
            position: 0,
        };
        // That a blob is missing is only told by the first piece.
        reader.advance()?;
        Ok(Box::new(reader))
    }

    fn contains(&self, digest: &Digest) -> io::Result<bool> {
        let request = self
            .request(InfoRequest {
                digest: digest.to_string(),
            })
            .map_err(io::Error::other)?;
        match self.runtime.block_on(self.client().info(request)) {
            Ok(_) => Ok(true),
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(failure(status)),
        }
    }
}

/// The pieces of a blob as one stream of bytes.
struct Pieces<'s> {
    stream: Streaming<ReadContentResponse>,
    runtime: &'s Handle,
    piece: ReadContentResponse,
    position: usize,
}

impl Pieces<'_> {
    /// Goes to the next piece; false at the end.
    fn advance(&mut self) -> io::Result<bool> {
        let next = self
            .runtime
            .block_on(self.stream.message())
            .map_err(failure)?;
        let more = next.is_some();
        self.piece = next.unwrap_or_default();
        self.position = 0;
        Ok(more)
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.piece.data.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let rest = &self.piece.data[self.position..];
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.position += length;
        Ok(length)
    }
}

/// containerd's answer as an error of the machine, so that it is never taken for a fault of the
/// image.
fn failure(status: Status) -> io::Error {
    match status.code() {
        Code::NotFound => io::Error::new(io::ErrorKind::NotFound, status.message().to_owned()),
        _ => io::Error::other(StoreError {
            text: format!("containerd's content store: {:#}", plain(status)),
            system: io::Error::from_raw_os_error(libc::EIO),
        }),
    }
}

#[derive(Debug)]
struct StoreError {
    text: String,
    system: io::Error,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.system)
    }
}

/// A status without its metadata.
fn plain(status: Status) -> anyhow::Error {
    match status.source() {
        Some(source) => anyhow::anyhow!("{} ({source})", status.message()),
        None => anyhow::anyhow!("{}", status.message()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::{BufMut as _, Bytes, BytesMut};
    use http_body_util::StreamBody;
    use hyper::body::{Frame, Incoming};
    use hyper::header::HeaderMap;
    use hyper::server::conn::http2;
    use hyper::service::service_fn;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use prost::Message as _;
    use tokio::net::UnixListener;

    use super::*;

    /// The answer of a content store that sends one piece of a blob and then fails.
    fn breaking_off() -> hyper::Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>> {
        let piece = ReadContentResponse {
            offset: 0,
            data: b"one piece".to_vec(),
        };
        let mut message = BytesMut::new();
        message.put_u8(0);
        message.put_u32(u32::try_from(piece.encoded_len()).unwrap());
        piece.encode(&mut message).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "14".parse().unwrap());
        trailers.insert("grpc-message", "the disk is gone".parse().unwrap());
        let frames = [Frame::data(message.freeze()), Frame::trailers(trailers)];
        let body = StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
        hyper::Response::builder()
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_that_fails_in_the_middle_of_a_blob_is_no_end_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("containerd.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let serving = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let answer =
                    |_: hyper::Request<Incoming>| async { Ok::<_, Infallible>(breaking_off()) };
                let connection = http2::Builder::new(TokioExecutor::new());
                let connection =
                    connection.serve_connection(TokioIo::new(stream), service_fn(answer));
                let _ = connection.await;
            }
        };
        let reading = async {
            let store = ContentStore::connect(&socket, "default").await.unwrap();
            let read = move || {
                let digest = Digest::of(b"a blob of more than one piece");
                let mut reader = store.open(&digest).unwrap();
                let mut bytes = Vec::new();
                let error = reader.read_to_end(&mut bytes).unwrap_err();
                (bytes, error)
            };
            tokio::task::spawn_blocking(read).await.unwrap()
        };
        let (bytes, error) = tokio::select! {
            () = serving => panic!("the server ended"),
            read = reading => read,
        };
        assert_eq!(bytes, b"one piece");
        assert_eq!(
            error.to_string(),
            "containerd's content store: the disk is gone"
        );
        let system = error.get_ref().unwrap().source().unwrap();
        assert!(system.downcast_ref::<io::Error>().unwrap().raw_os_error() == Some(libc::EIO));
    }

    #[test]
    fn a_missing_blob_is_told_apart_from_a_failing_store() {
        assert_eq!(
            failure(Status::not_found("x")).kind(),
            io::ErrorKind::NotFound
        );
        let error = failure(Status::unavailable("gone"));
        assert_eq!(error.to_string(), "containerd's content store: gone");
        let inner = error.get_ref().unwrap().source().unwrap();
        assert_eq!(
            inner.downcast_ref::<io::Error>().unwrap().raw_os_error(),
            Some(libc::EIO)
        );
    }
}
