//! Clients of the servers in [`crate::backing`], for tests that bring messages.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::output::PATIENCE;

/// Publishes on a Redis channel; gives how many have subscribed to it.
pub fn publish(redis: SocketAddr, channel: &str, message: &str) -> Result<u32> {
    let mut stream = TcpStream::connect(redis)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = "*3\r\n".to_owned();
    for part in ["PUBLISH", channel, message] {
        request += &format!("${}\r\n{part}\r\n", part.len());
    }
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    let number = answer.trim_end().strip_prefix(':');
    let number = number.with_context(|| format!("redis answers {answer:?}"))?;
    Ok(number.parse()?)
}

/// Publishes on an MQTT topic with quality 1, and waits until the server has it.
pub fn publish_mqtt(mqtt: SocketAddr, topic: &str, message: &str) -> Result<()> {
    let mut stream = TcpStream::connect(mqtt)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // CONNECT: protocol level 4, a clean session, no name.
    stream.write_all(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    ensure!(answer == [0x20, 2, 0, 0], "mqtt answers {answer:?}");
    let size = u8::try_from(2 + topic.len() + 2 + message.len())?;
    ensure!(size < 128, "the message is too long for this client");
    let length = u16::try_from(topic.len())?.to_be_bytes();
    let mut packet = vec![0x32, size];
    packet.extend(length);
    packet.extend(topic.as_bytes());
    packet.extend([0, 1]);
    packet.extend(message.as_bytes());
    stream.write_all(&packet)?;
    stream.read_exact(&mut answer)?;
    ensure!(answer == [0x40, 2, 0, 1], "mqtt answers {answer:?}");
    stream.write_all(b"\xe0\x00")?;
    Ok(())
}

/// One call of Amazon's SQS by its command line's protocol (JSON): `action` such as `CreateQueue`.
pub fn sqs(
    server: SocketAddr,
    action: &str,
    body: &serde_json::Value,
) -> Result<serde_json::Value> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30"])
        .args(["-H", "content-type: application/x-amz-json-1.0"])
        .args(["-H", &format!("x-amz-target: AmazonSQS.{action}")])
        .args([
            "-H",
            "authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/sqs/aws4_request",
        ])
        .args(["--data", &body.to_string()])
        .arg(format!("http://{server}/"))
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && !text.contains("__type"),
        "{action}: {text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    if text.trim().is_empty() {
        return Ok(serde_json::Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("{action}: {text}"))
}
