//! Customers who send files by tus, each file in one request.
use std::net::SocketAddr;

use data_encoding::BASE64;
use protocol::ServiceRequestId;

use super::Content;
use crate::bench::{Result, fixture::Home, load::Http};

/// Connections at once.
const CONNECTIONS: usize = 32;

/// Sends all files.
pub(super) async fn send(
    address: SocketAddr,
    mut files: Vec<(Home, ServiceRequestId, &[Content])>,
) -> Result<()> {
    let share = files.len().div_ceil(CONNECTIONS).max(1);
    let mut shares = Vec::new();
    while !files.is_empty() {
        shares.push(files.split_off(files.len().saturating_sub(share)));
    }
    let sent = shares.into_iter().map(|share| async move {
        let mut connection = Http::connect(address).await?;
        for (home, request, files) in share {
            for (n, file) in files.iter().enumerate() {
                let head = creation(&home, request, n, file);
                connection.send(head.as_bytes(), &file.bytes, "201").await?;
            }
        }
        Ok(())
    });
    futures_util::future::try_join_all(sent).await.map(drop)
}

/// Sends one file with the head of its creation.
pub(super) async fn send_one(address: SocketAddr, head: &str, file: &Content) -> Result<()> {
    let mut connection = Http::connect(address).await?;
    connection.send(head.as_bytes(), &file.bytes, "201").await.map(drop)
}

/// The head of a creation with upload.
pub(super) fn creation(home: &Home, request: ServiceRequestId, n: usize, file: &Content) -> String {
    let name = format!("{n}.{}", file.ending);
    let (request64, name64) = (BASE64.encode(request.to_string().as_bytes()), BASE64.encode(name.as_bytes()));
    let (token, length) = (&home.token, file.bytes.len());
    format!(
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ntus-resumable: 1.0.0\r\n\
         idempotency-key: {request}-{n}\r\nupload-length: {length}\r\n\
         upload-metadata: request {request64},filename {name64}\r\n\
         content-type: application/offset+octet-stream\r\ncontent-length: {length}\r\n\r\n"
    )
}
