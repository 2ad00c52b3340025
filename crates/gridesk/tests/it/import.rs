//! The import's half of its talk with the center, whose other half this test plays.
use std::path::Path;

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, RawQuery},
    http::StatusCode,
    routing::post,
};
use gridesk::import::{ImportError, Options, run};
use runtime::shutdown::Shutdown;

const RESULT: &str = r#"{"account":"3300000000019","bills":[],"total_wh":0,"total_fen":0}"#;

async fn center(data: &Path, shutdown: &Shutdown) {
    let take = async |RawQuery(query): RawQuery, body: Bytes| match query.as_deref() {
        Some("tariff=zj-residential") if body.len() == 300_000 => (StatusCode::OK, RESULT.to_owned()),
        Some(query) => (
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(r#"{{"code":"invalid_request","detail":"{query} {} bytes"}}"#, body.len()),
        ),
        None => (StatusCode::BAD_GATEWAY, "<html>".to_owned()),
    };
    let router =
        Router::new().route("/admin/import/green-button", post(take)).layer(DefaultBodyLimit::max(1 << 20));
    let listener = runtime::unix::bind(&data.join("run/center-admin.sock")).unwrap();
    tokio::spawn(runtime::health::serve(listener, router, shutdown));
}

#[tokio::test]
async fn the_file_is_streamed_and_a_refusal_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let shutdown = Shutdown::new();
    center(folder.path(), &shutdown).await;
    let file = folder.path().join("usage.xml");
    std::fs::write(&file, vec![b'x'; 300_000]).unwrap();
    let account = protocol::AccountId::mint(33, 1).unwrap();
    let mut options = Options {
        file,
        account: None,
        tariff: "zj-residential".parse().unwrap(),
        data: folder.path().into(),
    };
    let imported = run(&options).await.unwrap();
    assert_eq!(serde_json::to_string(&imported).unwrap(), RESULT);

    options.account = Some(account);
    let refused = run(&options).await.unwrap_err().to_string();
    assert_eq!(refused, format!("invalid_request: tariff=zj-residential&account={account} 300000 bytes"));
    options.file = folder.path().join("missing.xml");
    assert!(matches!(run(&options).await, Err(ImportError::File { .. })));
    shutdown.begin();
}
