//! One publish per write to NATS JetStream, each acknowledged by itself: streams like the lanes', of this module's own.
use std::{cell::Cell, rc::Rc, time::Duration};

use async_nats::jetstream::{
    Context, new,
    stream::{Config, StorageType},
};
use center::config::EngineSettings;

use crate::bench::{During, Result, load::closed_loop};

/// Bytes that a stream may take: it is made anew for each measurement.
const MAX_BYTES: i64 = 256 << 20;

/// Publishes `body` with `in_flight` waiting, over as many streams as there are lanes, a second.
pub(super) async fn publish_each(
    settings: &EngineSettings,
    lanes: usize,
    body: &[u8],
    in_flight: usize,
    each: Duration,
) -> Result<f64> {
    let doing = "publishing to NATS";
    let client = async_nats::connect(settings.nats.servers.join(",")).await.during(doing)?;
    let context = new(client);
    for lane in 0..lanes {
        make(&context, settings, lane).await?;
    }
    let next = Rc::new(Cell::new(0usize));
    let body = bytes::Bytes::copy_from_slice(body);
    let worker = |_| {
        let (context, next, body) = (context.clone(), Rc::clone(&next), body.clone());
        std::future::ready(Ok(async move || {
            next.set(next.get() + 1);
            let published = context.publish(subject(next.get() % lanes), body.clone()).await;
            published.during(doing)?.await.during(doing).map(drop)
        }))
    };
    let rate = closed_loop(in_flight, each, worker).await;
    for lane in 0..lanes {
        context.delete_stream(stream(lane)).await.during(doing)?;
    }
    rate
}

async fn make(context: &Context, settings: &EngineSettings, lane: usize) -> Result<()> {
    context.delete_stream(stream(lane)).await.ok();
    let config = Config {
        name: stream(lane),
        subjects: vec![subject(lane)],
        storage: StorageType::File,
        max_bytes: MAX_BYTES,
        num_replicas: usize::from(settings.nats.replicas),
        ..Config::default()
    };
    context.create_stream(config).await.during("making a stream of NATS").map(drop)
}

fn stream(lane: usize) -> String {
    format!("BENCH_{lane}")
}

fn subject(lane: usize) -> String {
    format!("bench.{lane}")
}
