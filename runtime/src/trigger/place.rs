//! Where the server of a trigger is, and a connection with it, by TLS where its
//! address says so.

use std::fmt::{self, Display, Formatter};

use tokio::net::TcpStream;
use url::Url;

use crate::outbound::Trust;
use crate::service::dial::Wire;

/// A server.
pub(super) struct Place {
    host: String,
    port: u16,
    tls: bool,
}

impl Place {
    /// Where a URL leads, with the port that it need not name.
    ///
    /// # Errors
    /// The end of a sentence that begins with the address.
    pub(super) fn new(url: &Url, port: u16, tls: bool) -> Result<Self, String> {
        let host = url.host_str().filter(|host| !host.is_empty());
        Ok(Self {
            host: host.ok_or("names no host")?.to_owned(),
            port: url.port().unwrap_or(port),
            tls,
        })
    }

    /// Connects. Dropping the future gives it up.
    ///
    /// # Errors
    /// What is wrong, without the place.
    pub(super) async fn connect(&self, trust: &Trust) -> Result<Box<dyn Wire>, String> {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        let connecting = TcpStream::connect((bare, self.port));
        let stream = connecting.await.map_err(|error| error.to_string())?;
        // Without it, what is small only waits longer.
        _ = stream.set_nodelay(true);
        if self.tls {
            Ok(Box::new(trust.secure(bare, stream).await?))
        } else {
            Ok(Box::new(stream))
        }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
