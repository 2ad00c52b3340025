//! A round whose transaction is lost on the way: nobody is told a lie, and nothing of it is left.
use protocol::{Channel, LaneId, OperationId, ShardId, envelope::Language};

use super::*;
use crate::{message::Origin, sqlite};

const LANE: LaneId = LaneId(0);

fn message(n: u128, len: usize) -> NewMessage {
    let origin = Origin {
        accepted_ms: 1,
        customer: None,
        session: None,
        channel: Channel::System,
        language: Language::Zh,
        request_id: [0; 16],
        trace_id: [0; 16],
    };
    NewMessage { operation: OperationId::from_bits(n), code: 1, version: 1, body: vec![7; len], origin }
}

fn writer(folder: &tempfile::TempDir) -> Writer {
    let path = folder.path().join("shard-0.db");
    let (connection, _) = sqlite::open_for_writing(&path, &[LANE]).unwrap();
    connection.execute_batch("PRAGMA busy_timeout = 0").unwrap();
    let recent = HashMap::from([(LANE, Arc::new(Recent::new(0)))]);
    Writer::new(ShardId(0), connection, Hooks { recent }, HashMap::from([(LANE, 0)]))
}

fn append(message: NewMessage) -> (Command, oneshot::Receiver<Result<u64>>) {
    let (done, answer) = oneshot::channel();
    (Command::Append { lane: LANE, messages: vec![message], done }, answer)
}

fn stored(writer: &Writer) -> Vec<u64> {
    let found = now(lanes::messages(&Transaction(&writer.connection), LANE, 0, 100)).unwrap();
    found.iter().map(|m| m.sequence).collect()
}

#[test]
fn a_transaction_lost_in_the_middle_takes_the_whole_round_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder);
    let (first, _first) = append(message(1, 10));
    writer.round([first].into_iter());
    let pages: i64 = writer.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    writer.connection.execute_batch(&format!("PRAGMA max_page_count = {}", pages + 2)).unwrap();

    // The second needs more pages than there are: SQLite rolls all of the transaction back by itself.
    let (small, mut small_answer) = append(message(2, 10));
    let (large, mut large_answer) = append(message(3, 1 << 20));
    let (after, mut after_answer) = append(message(4, 10));
    writer.round([small, large, after].into_iter());
    for answer in [&mut small_answer, &mut large_answer, &mut after_answer] {
        assert!(matches!(answer.try_recv().unwrap(), Err(StorageError::Full)));
    }
    assert_eq!(stored(&writer), [1], "what was refused is not there");

    let (again, mut again_answer) = append(message(4, 10));
    writer.round([again].into_iter());
    assert_eq!(again_answer.try_recv().unwrap().unwrap(), 2, "and the lane goes on without a gap");
    assert_eq!(stored(&writer), [1, 2]);
}

#[test]
fn a_transaction_that_cannot_begin_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(&folder);
    let other = Connection::open(folder.path().join("shard-0.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (refused, mut answer) = append(message(1, 10));
    writer.round([refused].into_iter());
    let Err(StorageError::Database { source, .. }) = answer.try_recv().unwrap() else {
        panic!("not refused")
    };
    assert_eq!(source.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy));
    other.execute_batch("ROLLBACK").unwrap();
    let (again, mut answer) = append(message(1, 10));
    writer.round([again].into_iter());
    assert_eq!(answer.try_recv().unwrap().unwrap(), 1);
    assert_eq!(stored(&writer), [1]);
}
