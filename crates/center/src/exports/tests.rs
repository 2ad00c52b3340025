//! Files made from rows, with the process dying on either side of every step.
use std::{fs, sync::Arc};

use domain::{billing::BillTerms, readings::Quality};
use protocol::{
    AccountId, BillId, CustomerId, catalogue::requests::ExportWhat, envelope::Language, file::place,
    routing::ShardMap,
};
use runtime::{health::Readiness, lock::FolderLock};
use storage::rows::Put;

use super::*;
use crate::{config::Config, engines::Engines, operation::Import, server};

const SHARD: ShardId = ShardId(0);

struct World {
    maker: Maker,
    account: AccountId,
    made: u128,
    shutdown: Shutdown,
    folder: tempfile::TempDir,
}

impl World {
    /// A node with an account that has two days of readings and a bill.
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let config = serde_json::json!({
            "data": at("data"), "socket": at("socket"), "admin": at("admin"), "public_url": "http://portal",
            "outward": at("outward"), "shards": 1, "lanes_per_shard": 1,
        });
        let config: Config = serde_json::from_value(config).unwrap();
        let map = ShardMap::even(1, 1).unwrap();
        std::fs::create_dir_all(&config.data).unwrap();
        let lock = Arc::new(FolderLock::acquire(&config.data).unwrap());
        let (engines, _) = Engines::of_folder(&config, &map, lock).await.unwrap();
        let node = server::build(&config, engines).await.unwrap();
        let shutdown = Shutdown::new();
        server::start_tasks(&node, &Readiness::new(), &shutdown);
        let account = AccountId::mint(33, 77).unwrap();
        let days = ["2024-10-01", "2024-10-02"].map(|date| {
            let mut day = domain::readings::DayReadings::new(date.parse().unwrap(), 3600).unwrap();
            (0..24).for_each(|hour| day.add(hour * 3600, domain::money::Wh(250), Quality::Valid).unwrap());
            day
        });
        let import = Import {
            account,
            holder: "样例".into(),
            phone: None,
            address: "样例路 1 号".into(),
            division: "330106".into(),
            tariff: "zj-residential-tou".parse().unwrap(),
            terms: BillTerms::default(),
            days: days.into(),
        };
        node.run_own(Own::Import(import), account.bucket(), "1").await.unwrap();
        let outward = Outward::open(&at("outward")).unwrap();
        let maker = Maker { node, outward, pauses: Mutex::default() };
        World { maker, account, made: 0, shutdown, folder }
    }

    /// A file that was asked for.
    async fn ask(&mut self, what: ExportWhat) -> Export {
        self.made += 1;
        let bucket = self.account.bucket();
        let now_ms = self.maker.node.clock().unix_ms();
        let row = Export {
            id: ExportId::mint(bucket, self.made << 64),
            account: self.account,
            customer: CustomerId::mint(bucket, 1),
            what,
            language: Language::Zh,
            state: ExportState::Making,
            failure: None,
            root: None,
            size: 0,
            created_ms: now_ms,
            due_ms: now_ms,
        };
        self.put(&row).await;
        row
    }

    async fn put(&self, row: &Export) {
        self.maker.node.store().fill(SHARD, vec![Put::Export(row.clone())]).await.unwrap();
    }

    async fn row(&self, of: &Export) -> Option<Export> {
        self.maker.node.store().export(of.id).await.unwrap().value
    }

    /// Lets the file's time be over.
    async fn is_over(&self, of: &Export) {
        // By more than the file system's clock may be behind.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let row = self.row(of).await.unwrap();
        self.put(&Export { due_ms: self.maker.node.clock().unix_ms(), ..row }).await;
    }

    async fn look(&self) {
        self.maker.look(SHARD).await.unwrap();
    }

    fn csv(&self) -> ExportWhat {
        ExportWhat::UsageCsv { from: "2024-10-01".parse().unwrap(), to: "2024-10-31".parse().unwrap() }
    }

    fn bytes(&self, row: &Export) -> Option<Vec<u8>> {
        fs::read(self.folder.path().join("outward").join(place(&row.root.unwrap()))).ok()
    }

    fn end(self) {
        self.shutdown.begin();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_made_had_ended_removed_and_forgotten() {
    let mut world = World::new().await;
    let asked = world.ask(world.csv()).await;
    world.look().await;
    let row = world.row(&asked).await.unwrap();
    assert_eq!(row.state, ExportState::Ready);
    let bytes = world.bytes(&row).unwrap();
    assert_eq!((row.size, row.root), (bytes.len() as u64, Some(*blake3::hash(&bytes).as_bytes())));
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with('\u{feff}') && text.lines().count() == 49, "{text}");
    assert!(text.contains("2024-10-01,09:00,10:00,0.250,峰,实测\r\n"), "{text}");
    assert!(row.due_ms > row.created_ms + 6 * 24 * 3600 * 1000, "it can be had for a week");

    world.look().await;
    assert_eq!(world.row(&asked).await.unwrap(), row, "nothing is due");
    world.is_over(&asked).await;
    world.look().await;
    let expired = world.row(&asked).await.unwrap();
    assert_eq!((expired.state, expired.root), (ExportState::Expired, row.root));
    // The process may have died here: the row still says what is to be removed.
    world.look().await;
    assert_eq!(world.bytes(&row), None);
    assert_eq!(world.row(&asked).await.unwrap().root, None);
    world.is_over(&asked).await;
    world.look().await;
    assert_eq!(world.row(&asked).await, None);
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dying_before_it_is_said_that_a_file_is_there_makes_it_again_as_the_same() {
    let mut world = World::new().await;
    let from_to = ("2024-10-01".parse().unwrap(), "2024-10-02".parse().unwrap());
    let what = ExportWhat::GreenButton { from: from_to.0, to: from_to.1 };
    let asked = world.ask(what).await;
    // The file is in its place, and the process dies.
    let (root, size) = world.maker.write(&asked).await.unwrap();
    assert_eq!(world.row(&asked).await.unwrap().state, ExportState::Making);
    world.maker.outward = Outward::open(&world.folder.path().join("outward")).unwrap();
    world.look().await;
    let row = world.row(&asked).await.unwrap();
    assert_eq!((row.state, row.root, row.size), (ExportState::Ready, Some(root), size));
    assert_eq!(world.maker.outward.files().unwrap(), [root], "there is one");
    let read = domain::green_button::read(&world.bytes(&row).unwrap()[..], Default::default()).unwrap();
    assert_eq!(read.days.len(), 2);
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_has_too_stays() {
    let mut world = World::new().await;
    let (one, other) = (world.ask(world.csv()).await, world.ask(world.csv()).await);
    world.look().await;
    let row = world.row(&one).await.unwrap();
    assert_eq!(world.row(&other).await.unwrap().root, row.root, "the same content");
    for (of, is_there) in [(&one, true), (&other, false)] {
        world.is_over(of).await;
        world.look().await;
        world.look().await;
        assert_eq!(world.row(of).await.unwrap().root, None);
        assert_eq!(world.bytes(&row).is_some(), is_there);
    }
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nothing_refers_to_is_swept_unless_it_may_be_just_made() {
    let mut world = World::new().await;
    let kept = world.ask(world.csv()).await;
    world.look().await;
    let (outward, folder) = (world.maker.outward.clone(), world.folder.path().join("outward"));
    let place_one = |bytes: &[u8]| {
        let mut draft = outward.begin().unwrap();
        draft.write(bytes).unwrap();
        let root = draft.place().unwrap().0;
        fs::File::open(folder.join(place(&root))).unwrap()
    };
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    place_one(b"of an earlier life").set_modified(an_hour_ago).unwrap();
    world.maker.sweep().await.unwrap();
    let root = world.row(&kept).await.unwrap().root.unwrap();
    assert_eq!(world.maker.outward.files().unwrap(), [root]);
    // One that is being made since before it came may be the one that it belongs to.
    let making = world.ask(world.csv()).await;
    let fresh = place_one(b"of one that is being made");
    world.maker.sweep().await.unwrap();
    assert_eq!(world.maker.outward.files().unwrap().len(), 2);
    world.look().await;
    assert_eq!(world.row(&making).await.unwrap().state, ExportState::Ready);
    fresh.set_modified(an_hour_ago).unwrap();
    world.maker.sweep().await.unwrap();
    assert_eq!(world.maker.outward.files().unwrap(), [root]);
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_be_made_says_why_and_what_cannot_now_is_tried_again() {
    let mut world = World::new().await;
    let (from, to) = ("2020-01-01".parse().unwrap(), "2020-12-31".parse().unwrap());
    let none = world.ask(ExportWhat::UsageCsv { from, to }).await;
    let bill: BillId = format!("{}-2024-10", world.account).parse().unwrap();
    let unpaid = world.ask(ExportWhat::Invoice { bill }).await;
    world.look().await;
    let why = |row: Export| (row.state, row.failure);
    let failed = |why| (ExportState::Failed, Some(why));
    assert_eq!(why(world.row(&none).await.unwrap()), failed(ExportFailure::NoReadings));
    assert_eq!(why(world.row(&unpaid).await.unwrap()), failed(ExportFailure::NotPaid));

    // The folder is away: nothing is lost, and it is not tried without end.
    let (outward, away) = (world.folder.path().join("outward"), world.folder.path().join("away"));
    fs::rename(&outward, &away).unwrap();
    let asked = world.ask(world.csv()).await;
    world.look().await;
    assert_eq!(world.row(&asked).await.unwrap().state, ExportState::Making);
    assert!(world.maker.is_paused(asked.id));
    fs::rename(&away, &outward).unwrap();
    world.maker.pauses.lock().unwrap().clear();
    world.look().await;
    assert_eq!(world.row(&asked).await.unwrap().state, ExportState::Ready);

    // After an hour it is given up.
    fs::rename(&outward, &away).unwrap();
    let late = world.ask(world.csv()).await;
    world.put(&Export { created_ms: late.created_ms - GIVEN_UP_AFTER_MS - 1, ..late.clone() }).await;
    world.look().await;
    assert_eq!(why(world.row(&late).await.unwrap()), failed(ExportFailure::OurSide));
    world.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paid_bill_has_its_invoice() {
    let mut world = World::new().await;
    let bill: BillId = format!("{}-2024-10", world.account).parse().unwrap();
    let head = world.maker.node.store().bill(bill).await.unwrap().value.unwrap().head;
    world
        .maker
        .node
        .store()
        .fill(SHARD, vec![Put::BillPaid { bill, paid_fen: head.amount_fen }])
        .await
        .unwrap();
    let asked = world.ask(ExportWhat::Invoice { bill }).await;
    world.look().await;
    let row = world.row(&asked).await.unwrap();
    assert_eq!(row.state, ExportState::Ready);
    let pdf = world.bytes(&row).unwrap();
    let number = format!("YL{}202410", world.account);
    assert!(pdf.starts_with(b"%PDF") && pdf.windows(number.len()).any(|w| w == number.as_bytes()));
    world.end();
}
