//! Rows of an earlier version, and how many there may be.
use protocol::Bucket;

use super::*;

fn record(n: u128, about: About) -> Record {
    Record {
        id: FileId::mint(Bucket::FIRST, n << 12),
        customer: CustomerId::mint(Bucket::FIRST, 1 << 12),
        request: Some(ServiceRequestId::mint(Bucket::FIRST, 1 << 12)),
        about,
        channel: "app".into(),
        name: "x.txt".into(),
        size: 5,
        received: 0,
        stage: Stage::Receiving,
        kind: String::new(),
        why: String::new(),
        root: None,
        created_ms: 1,
        changed_ms: 1,
        expires_ms: 9,
    }
}

const ROOM: Quotas =
    Quotas { request_files: 9, customer_files: 9, customer_bytes: 999, channel_bytes: 999, bytes: 999 };

/// A file of rows as it was before there were versions: the first step's tables, number 0.
#[tokio::test]
async fn rows_from_before_there_were_kinds_are_taken_over_once() {
    let folder = tempfile::tempdir().unwrap();
    let old = Connection::open(folder.path().join("files.sqlite")).unwrap();
    old.execute_batch(SCHEMA[0]).unwrap();
    let before = record(1, About::default());
    old.execute(
        "INSERT INTO file (id, customer, request, channel, name, size, state, created_ms, changed_ms, expires_ms)
         VALUES (?1, ?2, ?3, 'app', 'x.txt', 5, 'receiving', 1, 1, 9)",
        params![
            bits(before.id),
            before.customer.bits().to_be_bytes(),
            before.request.unwrap().bits().to_be_bytes()
        ],
    )
    .unwrap();
    drop(old);
    let about = About { kind: Some(RequestKind::Complaint), form: Some("complaint-meter".parse().unwrap()) };
    for _ in 0..2 {
        let records = Records::open(folder.path()).unwrap();
        assert_eq!(records.get(before.id).await.unwrap(), Some(before.clone()));
        records.create(record(2, about.clone()), ROOM).await.unwrap().unwrap();
        assert_eq!(records.get(record(2, about.clone()).id).await.unwrap(), Some(record(2, about.clone())));
    }
    let newer = Connection::open(folder.path().join("files.sqlite")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Records::open(folder.path()), Err(DatabaseError::Newer(99))));
}

#[tokio::test]
async fn a_request_has_no_more_files_than_its_rules_say() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(folder.path()).unwrap();
    let (one, two) = (record(1, About::default()), record(2, About::default()));
    let room = Quotas { request_files: 1, ..ROOM };
    assert_eq!(records.create(one.clone(), room).await.unwrap(), Ok(()));
    assert_eq!(records.create(two.clone(), room).await.unwrap(), Err(Full::Request));
    assert_eq!(records.create(one.clone(), room).await.unwrap(), Ok(()), "it is there already");
    let decision = Decision { at_ms: 2, who: "x".into(), what: "refused".into(), why: "y".into() };
    let ended = (Stage::Receiving, Stage::Ended);
    assert!(records.decide(one.id, ended, Found::nothing(decision)).await.unwrap());
    assert_eq!(records.create(two, room).await.unwrap(), Ok(()), "what ended does not count");
}
