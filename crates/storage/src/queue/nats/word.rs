//! What nodes tell each other that need not last: sent to all who listen now, at most once.
use std::time::Duration;

use async_nats::Client;
use futures_util::StreamExt;
use tokio::sync::mpsc;

/// Where nodes tell each other.
const SUBJECT: &str = "gridesk.word";
/// Words that may wait to be heard.
const MOST_WAITING: usize = 256;
/// The pause before listening anew.
const PAUSE: Duration = Duration::from_millis(200);

/// Tells all nodes, this one included.
pub(super) async fn tell(client: &Client, word: Vec<u8>) {
    // What is not told now is told again soon.
    if let Err(error) = client.publish(SUBJECT, word.into()).await {
        tracing::debug!(%error, "nothing could be told to the other nodes");
    }
}

/// What nodes tell from now on. Whoever is slow to listen misses some.
pub(super) fn listen(client: Client) -> mpsc::Receiver<Vec<u8>> {
    let (sender, words) = mpsc::channel(MOST_WAITING);
    tokio::spawn(async move {
        while !sender.is_closed() {
            match client.subscribe(SUBJECT).await {
                Ok(mut heard) => loop {
                    let word = tokio::select! {
                        word = heard.next() => word,
                        () = sender.closed() => return,
                    };
                    let Some(word) = word else { break };
                    sender.try_send(word.payload.to_vec()).ok();
                },
                Err(error) => tracing::debug!(%error, "the other nodes are not heard; trying again"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    words
}
