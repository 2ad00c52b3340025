//! Follows one lane: every message of its stream, also of other nodes, in order, from where this process began.
use std::{sync::Arc, time::Duration};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use futures_util::StreamExt;

use super::{envelope, failed, lane::Lane, stream::Streams};
use crate::StorageError;

/// How often a server says that it has nothing; twice as long without a word, and the lane is followed anew.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// How long a request for messages stands.
const EXPIRES: Duration = Duration::from_secs(10);
/// After how long a server forgets a follower that asks no more.
const FORGOTTEN: Duration = Duration::from_secs(30);
/// The most messages under way.
const MOST_MESSAGES: usize = 64;
/// How long to wait before following anew, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Follows a lane until it is aborted.
pub(super) async fn run(streams: Streams, lane: Arc<Lane>) {
    let mut pause = PAUSES.0;
    loop {
        let before = lane.last();
        let Err(error) = follow(&streams, &lane).await;
        if lane.last() > before {
            pause = PAUSES.0;
        }
        // Said once, however long the servers are away.
        if pause == PAUSES.0 {
            tracing::info!(lane = lane.id.0, %error, "a lane is followed anew");
        }
        metrics::counter!("lane_followed_anew_total").increment(1);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Follows a lane until something fails.
async fn follow(streams: &Streams, lane: &Lane) -> Result<std::convert::Infallible, StorageError> {
    let doing = "following a lane";
    let from = lane.last() + 1;
    let config = pull::Config {
        description: Some("A node that follows its lane".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        // Order comes from the stream's sequences, which are checked; nothing is delivered a second time.
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGOTTEN,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    let consumer: PullConsumer =
        streams.context.create_consumer_on_stream(config, &lane.stream).await.map_err(failed(doing))?;
    let messages =
        consumer.stream().max_messages_per_batch(MOST_MESSAGES).heartbeat(HEARTBEAT).expires(EXPIRES);
    let mut messages = messages.messages().await.map_err(failed(doing))?;
    let mut expected = from;
    while let Some(message) = messages.next().await {
        let message = message.map_err(failed(doing))?;
        let number = message.info().map_err(failed(doing))?.stream_sequence;
        // Delivery is not repeated: one that got lost on the way is asked for anew. At the very beginning there is
        // nothing that could have got lost: then the stream has none before this.
        if number != expected && expected != from {
            return Err(failed(doing)(format!("message {number} came where {expected} was due")));
        }
        expected = number + 1;
        match envelope::decode(&message.payload) {
            Ok(operations) => lane.delivered(number, operations),
            Err(error) => {
                // Whoever reads on to it is told, and stops there.
                tracing::error!(lane = lane.id.0, message = number, %error, "a message of a lane cannot be read");
                lane.pass_over(number);
            }
        }
    }
    Err(failed(doing)("the stream of messages ended"))
}
