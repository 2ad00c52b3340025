//! The portal with invented data, to look at its pages: `cargo run --release -p gridesk-edge --example portal_preview
//! -- 8099`. Log in with any number and the code 246810. Nothing here is part of the product.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../tests/it/exports_fixture.rs"]
mod exports_fixture;
#[allow(dead_code)]
#[path = "../tests/it/portal_fixture.rs"]
mod portal_fixture;
#[allow(dead_code)]
#[path = "../tests/it/service_fixture.rs"]
mod service_fixture;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(8099);
    let folder = tempfile::tempdir()?;
    let portal = portal_fixture::start(folder.path(), port).await;
    println!("{} (code {})", portal.url, portal_fixture::CODE);
    tokio::signal::ctrl_c().await?;
    portal.shutdown.begin();
    Ok(())
}
