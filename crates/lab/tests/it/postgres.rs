//! A master and a slave.
use std::time::{Duration, Instant};

use lab::postgres::{Login, Master, Options, Slave};
use tokio_postgres::{Client, NoTls};

use crate::processes;

async fn connect(parts: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(parts, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM payment", &[]).await.unwrap().get(0)
}

/// Waits up to 10 s until the table has so many rows.
async fn see(client: &Client, rows: i64) {
    let until = Instant::now() + Duration::from_secs(10);
    while count(client).await != rows {
        assert!(Instant::now() < until, "{rows} rows are not seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn lab_a_slave_shows_what_its_master_has_unless_it_is_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut master = Master::start(&folder.path().join("master"), &Options::default()).unwrap();
    let mut slave = Slave::of(&master, &folder.path().join("slave")).unwrap();
    let writer = connect(&master.url()).await;
    writer.batch_execute("CREATE TABLE payment (id int8 PRIMARY KEY)").await.unwrap();
    writer.execute("INSERT INTO payment VALUES (1)", &[]).await.unwrap();
    slave.catch_up(&master).unwrap();
    let reader = connect(&slave.parts(Login::Reader).to_string()).await;
    assert_eq!(count(&reader).await, 1);
    let refused = reader.execute("INSERT INTO payment VALUES (9)", &[]).await.unwrap_err();
    assert!(refused.as_db_error().is_some(), "{refused}");

    slave.pause_replay().unwrap();
    writer.execute("INSERT INTO payment VALUES (2)", &[]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(count(&reader).await, 1);
    slave.resume_replay().unwrap();
    see(&reader, 2).await;

    // Killed, both come back on their ports with what was committed, and find each other.
    master.kill();
    assert!(!master.is_running());
    assert!(tokio_postgres::connect(&master.url(), NoTls).await.is_err());
    assert_eq!(count(&reader).await, 2);
    master.restart().unwrap();
    let writer = connect(&master.url()).await;
    writer.execute("INSERT INTO payment VALUES (3)", &[]).await.unwrap();
    see(&reader, 3).await;
    slave.kill();
    writer.execute("INSERT INTO payment VALUES (4)", &[]).await.unwrap();
    slave.restart().unwrap();
    see(&connect(&slave.url()).await, 4).await;

    // Frozen it says nothing; then it goes on with the same connection.
    slave.stall().unwrap();
    let url = slave.url();
    let silence = tokio::time::timeout(Duration::from_millis(300), tokio_postgres::connect(&url, NoTls));
    assert!(silence.await.is_err());
    slave.go_on();

    slave.reinitialise(&master).unwrap();
    writer.execute("INSERT INTO payment VALUES (5)", &[]).await.unwrap();
    slave.catch_up(&master).unwrap();
    assert_eq!(count(&connect(&slave.url()).await).await, 5);
    assert_eq!(master.sql("SELECT count(*) FROM pg_replication_slots WHERE active").unwrap(), "1");
    assert_eq!(master.sql("SHOW data_checksums; SHOW fsync; SHOW full_page_writes").unwrap(), "on\non\non");

    assert!(processes::of(folder.path()).len() > 5);
    drop(slave);
    drop(master);
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn lab_a_second_start_finds_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let (at_master, at_slave) = (folder.path().join("master"), folder.path().join("slave"));
    let mut master = Master::start(&at_master, &Options::default()).unwrap();
    let mut slave = Slave::of(&master, &at_slave).unwrap();
    let (port, url, name) = (master.port(), master.url(), slave.name().to_owned());
    master.sql("CREATE TABLE payment (id int8 PRIMARY KEY); INSERT INTO payment VALUES (1)").unwrap();
    slave.stop();
    master.stop();
    drop((master, slave));

    // Its port is another's by now.
    let taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let master = Master::start(&at_master, &Options::default()).unwrap();
    assert_ne!(master.port(), port);
    let slave = Slave::of(&master, &at_slave).unwrap();
    assert_eq!(slave.name(), name);
    master.sql("INSERT INTO payment VALUES (2)").unwrap();
    slave.catch_up(&master).unwrap();
    assert_eq!(count(&connect(&slave.url()).await).await, 2);
    drop((master, slave, taken));

    let master = Master::start(&at_master, &Options::default()).unwrap();
    assert_ne!(master.url(), url);
    assert_eq!(master.sql("SELECT count(*) FROM payment").unwrap(), "2");
}

#[test]
fn lab_a_folder_with_other_things_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
    let error = Master::start(folder.path(), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("holds something else"), "{error}");
}

#[test]
fn lab_what_cannot_start_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = Options { settings: vec![("no_such_setting".into(), "1".into())], ..Options::default() };
    let error = Master::start(folder.path(), &wrong).unwrap_err().to_string();
    assert!(error.contains("no_such_setting") && error.contains("postgres.log"), "{error}");
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());
}
