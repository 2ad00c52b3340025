//! Files that come with a request.
use protocol::{
    FileId, ServiceRequestId,
    bounds::{FileSize, Prose, Text},
    catalogue::{
        replies::{FileState, RequestState, StepKind},
        requests::{FileAttach, FileCreate, FileEnd, RequestNote},
    },
    file::Receipt,
};
use storage::rows::RequestView;

use super::*;

impl World {
    async fn question(&mut self) -> ServiceRequestId {
        self.create("billing-question", None, &[("topic", "tier"), ("question", "?")]).await.unwrap()
    }

    async fn name_file(&mut self, request: ServiceRequestId, size: u64) -> Result<FileId, Code> {
        let (name, size) = (Text::new("证明.pdf").unwrap(), FileSize::try_from(size).unwrap());
        match self.ask(FileCreate { request, name, size }).await? {
            Reply::FileCreate(r) => Ok(r.file),
            other => panic!("{other:?}"),
        }
    }

    async fn attach(&mut self, file: FileId, size: u64, root: [u8; 32]) -> Result<Receipt, Code> {
        let size = FileSize::try_from(size).unwrap();
        match self.ask(FileAttach { file, size, root, kind: "pdf".parse().unwrap() }).await? {
            Reply::FileAttach(r) => Ok(r.receipt),
            other => panic!("{other:?}"),
        }
    }

    async fn end(&mut self, file: FileId, why: &str) -> Result<Reply, Code> {
        self.ask(FileEnd { file, why: why.parse().unwrap() }).await
    }

    async fn view(&self, id: ServiceRequestId) -> RequestView {
        self.store.request(id).await.unwrap().value.unwrap()
    }
}

#[tokio::test]
async fn a_file_is_attached_once_and_its_receipt_is_the_same_each_time() {
    let mut world = World::new();
    world.bound_account().await;
    let request = world.question().await;
    let file = world.name_file(request, 10).await.unwrap();
    assert_eq!(file.bucket(), request.bucket());
    assert_eq!(world.view(request).await.files[0].state, FileState::Expected);
    assert_eq!(world.attach(file, 11, [1; 32]).await, Err(Code::Conflict), "another length than was said");
    let receipt = world.attach(file, 10, [1; 32]).await.unwrap();
    let keys = crate::keys::SessionKeys::load_or_create(world._folder.path()).unwrap();
    assert!(receipt.is_genuine(keys.public()));
    assert_eq!((receipt.file, receipt.size, receipt.root), (file, 10, [1; 32]));
    world.now_ms += 1000 * SECOND;
    assert_eq!(world.attach(file, 10, [1; 32]).await, Ok(receipt), "said again, it is the same word");
    assert_eq!(world.attach(file, 10, [2; 32]).await, Err(Code::Conflict), "another file under this id");
    assert_eq!(world.end(file, "lost").await, Err(Code::Conflict));
    let view = world.view(request).await;
    let came = view.steps.iter().filter(|step| step.kind == StepKind::File).count();
    assert_eq!((came, view.files.len(), view.files[0].state), (1, 1, FileState::Stored));
    assert_eq!((view.files[0].kind.as_str(), view.files[0].root), ("pdf", Some([1; 32])));
}

#[tokio::test]
async fn what_will_not_come_cannot_be_attached() {
    let mut world = World::new();
    world.bound_account().await;
    let request = world.question().await;
    let file = world.name_file(request, 10).await.unwrap();
    world.end(file, "macro").await.unwrap();
    world.end(file, "expired").await.unwrap();
    let view = world.view(request).await;
    assert_eq!(
        (view.files[0].state, view.files[0].why.as_str()),
        (FileState::Ended, "macro"),
        "the first word stands"
    );
    assert_eq!(world.attach(file, 10, [1; 32]).await, Err(Code::Conflict));
    let unknown = FileId::mint(request.bucket(), 5 << 64);
    assert_eq!(world.attach(unknown, 10, [1; 32]).await, Err(Code::NotFound), "nobody asked for it");
    assert_eq!(world.end(unknown, "lost").await, Err(Code::NotFound));
}

#[tokio::test]
async fn only_who_made_an_open_request_names_files_and_not_too_many() {
    let mut world = World::new();
    world.bound_account().await;
    let request = world.question().await;
    for _ in 0..20 {
        world.name_file(request, 10).await.unwrap();
    }
    assert_eq!(world.name_file(request, 10).await, Err(Code::Conflict));
    let first = world.view(request).await.files[0].id;
    world.end(first, "withdrawn").await.unwrap();
    world.name_file(request, 10).await.unwrap();
    let one = world.customer;
    world.customer = Some(world.log_in("19900000002").await.0);
    assert_eq!(world.name_file(request, 10).await, Err(Code::NotFound));
    world.customer = one;
    world.ask(requests::RequestCancel { request }).await.unwrap();
    assert_eq!(world.name_file(request, 10).await, Err(Code::Conflict), "closed");
}

#[tokio::test]
async fn a_file_that_was_asked_for_lets_the_clock_run_again() {
    let mut world = World::new();
    world.bound_account().await;
    let request = world.question().await;
    world.step(request, StepKind::Asked, "请上传证明").await.unwrap();
    assert_eq!(world.view(request).await.request.answer_by_ms, None);
    let file = world.name_file(request, 10).await.unwrap();
    assert_eq!(world.view(request).await.request.state, RequestState::Waiting, "it has not come yet");
    world.attach(file, 10, [1; 32]).await.unwrap();
    let view = world.view(request).await;
    assert_eq!(view.request.state, RequestState::UnderWay);
    assert!(view.request.answer_by_ms.is_some());
    let note = RequestNote { request, text: Prose::new("谢谢").unwrap() };
    world.ask(note).await.unwrap();
}
