//! NATS, Redis and etcd: they answer, and come back.
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use async_nats::jetstream::{self, stream};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fred::prelude::{Builder, Client, ClientLike, Config, KeysInterface};
use lab::{
    etcd::Etcd,
    nats::{self, Nats},
    postgres::{self, Master},
    redis::{self, Redis},
};
use serde_json::{Value, json};

use crate::processes;

/// Does it until it goes well, for at most 20 s: clients notice a server's return in their own time.
async fn eventually<T, E: std::fmt::Debug>(mut what: impl AsyncFnMut() -> Result<T, E>) -> T {
    let mut tries = 0;
    loop {
        match what().await {
            Ok(value) => return value,
            Err(error) => assert!(tries < 100, "{error:?}"),
        }
        tries += 1;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn stream_of(nats: &Nats, replicas: usize) -> (jetstream::Context, stream::Stream) {
    // One that stays: a client takes minutes to notice that its server is frozen.
    let client = async_nats::connect(nats.servers[0].url()).await.unwrap();
    let context = jetstream::new(client);
    let config = stream::Config {
        name: "LANE".into(),
        subjects: vec!["lane".into()],
        num_replicas: replicas,
        max_bytes: 64 << 20,
        ..stream::Config::default()
    };
    let stream = eventually(async || context.get_or_create_stream(config.clone()).await).await;
    (context, stream)
}

async fn publish(context: &jetstream::Context, body: &'static str) -> u64 {
    eventually(async || context.publish("lane", body.into()).await?.await).await.sequence
}

#[tokio::test]
async fn lab_nats_keeps_what_it_acknowledged_through_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let mut nats = Nats::start(folder.path(), &nats::Options::default()).unwrap();
    let (context, mut stream) = stream_of(&nats, 1).await;
    for expected in 1..=50 {
        assert_eq!(publish(&context, "payment").await, expected);
    }
    nats.servers[0].kill();
    assert!(!nats.servers[0].is_running());
    nats.servers[0].restart().unwrap();
    assert_eq!(eventually(async || stream.info().await.cloned()).await.state.messages, 50);
    assert_eq!(publish(&context, "payment").await, 51);
    drop(nats);

    let nats = Nats::start(folder.path(), &nats::Options::default()).unwrap();
    let (_, mut stream) = stream_of(&nats, 1).await;
    assert_eq!(stream.info().await.unwrap().state.messages, 51);
    assert!(!processes::of(folder.path()).is_empty());
    drop(nats);
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn lab_three_nats_servers_go_on_without_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = nats::Options { servers: 3, ..nats::Options::default() };
    let mut nats = Nats::start(folder.path(), &options).unwrap();
    let (context, mut stream) = stream_of(&nats, 3).await;
    publish(&context, "one").await;
    nats.servers[1].kill();
    publish(&context, "two").await;
    nats.servers[1].restart().unwrap();
    nats.servers[2].stall().unwrap();
    publish(&context, "three").await;
    nats.servers[2].go_on();
    assert!(eventually(async || stream.info().await.cloned()).await.state.messages >= 3);
    nats.stop();
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());
}

async fn client_of(url: &str) -> Client {
    let client = Builder::from_config(Config::from_url(url).unwrap()).build().unwrap();
    client.init().await.unwrap();
    client
}

#[tokio::test]
async fn lab_redis_answers_and_comes_back_empty() {
    let folder = tempfile::tempdir().unwrap();
    let options = redis::Options { replica: true, ..redis::Options::default() };
    let mut redis = Redis::start(folder.path(), &options).unwrap();
    let client = client_of(&redis.url()).await;
    let _: () = client.set("bill", 7, None, None, false).await.unwrap();
    let replica = client_of(&redis.replica.as_ref().unwrap().url()).await;
    let copied = async || match replica.get::<Option<u32>, _>("bill").await {
        Ok(Some(value)) => Ok(value),
        other => Err(other),
    };
    assert_eq!(eventually(copied).await, 7);
    redis.server.kill();
    redis.server.restart().unwrap();
    let client = client_of(&redis.url()).await;
    assert_eq!(client.get::<Option<u32>, _>("bill").await.unwrap(), None);

    redis.server.stall().unwrap();
    let silence =
        tokio::time::timeout(Duration::from_millis(300), client.get::<Option<u32>, _>("bill")).await;
    assert!(silence.is_err());
    redis.server.go_on();
    redis.stop();
    assert_eq!(processes::of(folder.path()), Vec::<String>::new());
}

/// Calls etcd's JSON gateway at whichever member answers.
async fn call(etcd: &Etcd, path: &str, body: &Value) -> Value {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    eventually(async || {
        let mut last = None;
        for endpoint in etcd.endpoints() {
            let sent = client.post(format!("{endpoint}/v3/{path}")).json(body).send().await;
            match sent.and_then(reqwest::Response::error_for_status) {
                Ok(answer) => return answer.json().await.map_err(Some),
                Err(error) => last = Some(error),
            }
        }
        Err(last)
    })
    .await
}

async fn put(etcd: &Etcd, value: &str) {
    call(etcd, "kv/put", &json!({ "key": STANDARD.encode("epoch"), "value": STANDARD.encode(value) })).await;
}

async fn get(etcd: &Etcd) -> String {
    let answer = call(etcd, "kv/range", &json!({ "key": STANDARD.encode("epoch") })).await;
    let value = answer["kvs"][0]["value"].as_str().unwrap_or_default().to_owned();
    String::from_utf8(STANDARD.decode(value).unwrap()).unwrap()
}

async fn etcd_keeps_its_data(folder: &Path, members: u8) {
    let mut etcd = Etcd::start(folder, members).unwrap();
    put(&etcd, "1").await;
    assert_eq!(get(&etcd).await, "1");
    etcd.members[0].kill();
    if members == 3 {
        put(&etcd, "2").await;
    }
    etcd.members[0].restart().unwrap();
    put(&etcd, "3").await;
    // Another engine in the same folder leaves it alone.
    drop(Redis::start(folder, &redis::Options::default()).unwrap());
    assert!(etcd.members[0].is_running());
    etcd.stop();
    drop(etcd);
    let etcd = Etcd::start(folder, members).unwrap();
    assert_eq!(get(&etcd).await, "3");
    drop(etcd);
    assert_eq!(processes::of(folder), Vec::<String>::new());
}

#[tokio::test]
async fn lab_etcd_keeps_its_data_through_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    etcd_keeps_its_data(folder.path(), 1).await;
}

#[tokio::test]
async fn lab_three_members_of_etcd_go_on_without_one() {
    let folder = tempfile::tempdir().unwrap();
    etcd_keeps_its_data(folder.path(), 3).await;
}

/// Where the test below, run a second time as a child, is to start what it then leaves frozen.
const LEAVE_IN: &str = "LAB_TEST_LEAVE_IN";

#[test]
fn lab_what_is_frozen_ends_with_whoever_started_it() {
    if let Some(folder) = std::env::var_os(LEAVE_IN) {
        let mut master =
            Master::start(&Path::new(&folder).join("master"), &postgres::Options::default()).unwrap();
        let mut redis = Redis::start(&Path::new(&folder).join("redis"), &redis::Options::default()).unwrap();
        master.stall().unwrap();
        redis.server.stall().unwrap();
        println!("frozen");
        std::thread::sleep(Duration::from_secs(60));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "engines::lab_what_is_frozen_ends_with_whoever_started_it", "--nocapture"])
        .env(LEAVE_IN, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("frozen")));
    assert!(processes::of(folder.path()).len() > 3);
    child.kill().unwrap();
    child.wait().unwrap();
    processes::see_none(folder.path());
}
