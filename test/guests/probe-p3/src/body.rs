//! Bodies of `wasi:http` 0.3: a stream of bytes, and a future that says how it ended.

use wasip3::http::types::{ErrorCode, Fields, Request, Response, Trailers};
use wasip3::wit_bindgen::{
    FutureReader, FutureWriter, StreamReader, StreamResult, StreamWriter, spawn,
};
use wasip3::{wit_future, wit_stream};

/// How a body ended.
pub(crate) type Ended = Result<Option<Trailers>, ErrorCode>;

/// A response whose body is written later. Unless its end is told, it ends broken.
pub(crate) fn streamed(status: u16) -> (StreamWriter<u8>, FutureWriter<Ended>, Response) {
    let (writer, contents) = wit_stream::new();
    let (ended, trailers) = wit_future::new(|| Err(ErrorCode::HttpResponseIncomplete));
    let (response, _sent) = Response::new(Fields::new(), Some(contents), trailers);
    response
        .set_status_code(status)
        .expect("the status is a valid one");
    (writer, ended, response)
}

/// A response that is a whole text.
pub(crate) fn text(status: u16, text: &str) -> Response {
    let (mut writer, ended, response) = streamed(status);
    let text = text.as_bytes().to_vec();
    spawn(async move {
        _ = writer.write_all(text).await;
        drop(writer);
        _ = ended.write(Ok(None)).await;
    });
    response
}

/// `bytes` of body.
pub(crate) fn large(bytes: u64) -> Response {
    let (mut writer, ended, response) = streamed(200);
    spawn(async move {
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        while left > 0 {
            let now = left.min(64 * 1024);
            if !writer.write_all(vec![b'x'; now]).await.is_empty() {
                return;
            }
            left -= now;
        }
        drop(writer);
        _ = ended.write(Ok(None)).await;
    });
    response
}

/// The body of a request.
pub(crate) fn of_request(request: Request) -> (StreamReader<u8>, FutureReader<Ended>) {
    let (_handled, handled) = wit_future::new(|| Ok(()));
    Request::consume_body(request, handled)
}

/// The body of a response.
pub(crate) fn of_response(response: Response) -> (StreamReader<u8>, FutureReader<Ended>) {
    let (_handled, handled) = wit_future::new(|| Ok(()));
    Response::consume_body(response, handled)
}

/// Carries bytes as they come, until one side ends.
pub(crate) async fn carry(mut from: StreamReader<u8>, to: &mut StreamWriter<u8>) {
    loop {
        let (result, bytes) = from.read(Vec::with_capacity(64 * 1024)).await;
        if !bytes.is_empty() && !to.write_all(bytes).await.is_empty() {
            return;
        }
        if !matches!(result, StreamResult::Complete(_)) {
            return;
        }
    }
}

/// Reads to the end, and says how much it was.
pub(crate) async fn count(mut from: StreamReader<u8>) -> usize {
    let mut total = 0;
    loop {
        let (result, bytes) = from.read(Vec::with_capacity(64 * 1024)).await;
        total += bytes.len();
        if !matches!(result, StreamResult::Complete(_)) {
            return total;
        }
    }
}
