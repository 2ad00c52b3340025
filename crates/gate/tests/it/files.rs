//! Files through both halves.
use protocol::file::{CHUNK_LEN, Ended};

use crate::{files_sender::*, world::*};

/// Sizes at which something changes.
pub(crate) const SIZES: [usize; 8] =
    [1, 1000, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 5 * CHUNK_LEN + 77, 70 * CHUNK_LEN + 1];

#[tokio::test]
async fn files_of_all_lengths_come_whole_and_are_attached_once() {
    let world = World::start();
    let center = world.center(0);
    let folder = world.folder.path();
    let mut sender = ready_sender(folder).await;
    let mut files = Vec::new();
    for (seed, (size, is_text)) in SIZES.iter().flat_map(|size| [(*size, true), (*size, false)]).enumerate() {
        let bytes = content(seed as u64, size, is_text);
        let offer = offer_of(file_id(seed as u64), &bytes);
        sender.compresses = is_text;
        let ended = sender.file(&offer, &bytes).await.unwrap();
        let Ended::Stored(receipt) = &ended else { panic!("{size}: {}", why(&ended)) };
        assert!(receipt.is_genuine(&[(1, center_key().verifying_key())]));
        assert_eq!((receipt.file, receipt.size, receipt.root), (offer.file, offer.size, offer.root));
        // Offered again: the same receipt.
        assert_eq!(sender.file(&offer, &bytes).await.unwrap(), ended);
        files.push(bytes);
    }
    let mut found: Vec<_> = stored(folder).into_iter().map(|(_, bytes)| bytes).collect();
    found.sort();
    files.sort();
    files.dedup();
    assert!(found == files, "each is there once");
    assert_eq!(center.attached.lock().unwrap().len(), 2 * SIZES.len());
    let left = quarantined(folder);
    assert!(left.iter().all(|name| name.ends_with(".verified")), "{left:?}");
    world.outer.stop().await;
    world.inner.stop().await;
}
