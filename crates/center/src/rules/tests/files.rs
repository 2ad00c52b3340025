//! Files that come with a request.
use protocol::{
    FileId, ServiceRequestId,
    bounds::{FileSize, Prose, Text},
    catalogue::{
        replies::{FileState, RequestState, StepBy, StepKind},
        requests::{FileAttach, FileCreate, FileEnd, FileEnding, FileResult, RequestNote},
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

    async fn result(&mut self, file: FileId, how: FileEnding, why: &str, words: &str) -> Result<Reply, Code> {
        let (why, words) = (why.parse().unwrap(), Text::new(words).unwrap());
        self.ask(FileResult { file, how, why, words, rule: Text::new("kind:consult").unwrap() }).await
    }

    async fn expire(&mut self, file: FileId) -> Result<Reply, Code> {
        self.own(Own::FileExpire(crate::operation::FileExpire { file }), file.bucket()).await
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

#[tokio::test]
async fn a_file_that_does_not_come_is_a_step_of_its_request_once() {
    let mut world = World::new();
    world.bound_account().await;
    let request = world.question().await;
    let file = world.name_file(request, 10).await.unwrap();
    for _ in 0..2 {
        world.result(file, FileEnding::RefusedByPerson, "refused", "看不清").await.unwrap();
    }
    let view = world.view(request).await;
    assert_eq!((view.files[0].state, view.files[0].why.as_str()), (FileState::Ended, "refused"));
    let said: Vec<_> = view.steps.iter().filter(|step| step.kind == StepKind::Note).collect();
    assert_eq!(said.len(), 1, "said twice, it is one step");
    assert_eq!(said[0].by, StepBy::Service);
    assert!(said[0].text.contains("证明.pdf") && said[0].text.contains("看不清"), "{}", said[0].text);

    let file = world.name_file(request, 10).await.unwrap();
    world.result(file, FileEnding::Refused, "macro", "").await.unwrap();
    let view = world.view(request).await;
    let last = view.steps.last().unwrap();
    assert!(last.by == StepBy::System && last.text.contains("macros"), "{}", last.text);
    assert!(last.text.contains("kind:consult"), "{}", last.text);
    assert_eq!(world.attach(file, 10, [1; 32]).await, Err(Code::Conflict));

    let came = world.name_file(request, 10).await.unwrap();
    world.attach(came, 10, [1; 32]).await.unwrap();
    assert_eq!(world.result(came, FileEnding::Lost, "lost", "").await, Err(Code::Conflict));
    let unknown = FileId::mint(request.bucket(), 5 << 64);
    assert_eq!(world.result(unknown, FileEnding::Lost, "lost", "").await, Err(Code::NotFound));

    // Nothing is written to a closed request; its file ends all the same.
    let late = world.name_file(request, 10).await.unwrap();
    world.ask(requests::RequestCancel { request }).await.unwrap();
    let steps = world.view(request).await.steps.len();
    world.result(late, FileEnding::Withdrawn, "withdrawn", "").await.unwrap();
    let view = world.view(request).await;
    let state = view.files.iter().find(|file| file.id == late).unwrap().state;
    assert_eq!((view.steps.len(), state), (steps, FileState::Ended));
}

#[tokio::test]
async fn a_file_that_never_came_is_given_up_and_one_that_came_is_left() {
    let mut world = World::new();
    world.bound_account().await;
    let request = world.question().await;
    let (first, named_ms) = (world.name_file(request, 10).await.unwrap(), world.now_ms);
    world.now_ms += 1000 * SECOND;
    let second = world.name_file(request, 10).await.unwrap();
    let shard = world.store.map().shard(first.bucket());
    let overdue = async |world: &World, ms| world.store.files_overdue(shard, ms, 9).await.unwrap();
    assert_eq!(overdue(&world, named_ms - 1).await, []);
    assert_eq!(overdue(&world, named_ms).await, [first]);
    assert_eq!(overdue(&world, world.now_ms).await, [first, second]);
    world.attach(second, 10, [1; 32]).await.unwrap();
    for file in [first, first, second] {
        world.expire(file).await.unwrap();
    }
    assert_eq!(overdue(&world, world.now_ms).await, []);
    let view = world.view(request).await;
    let states: Vec<_> = view.files.iter().map(|file| (file.state, file.why.as_str())).collect();
    assert_eq!(states, [(FileState::Ended, "expired"), (FileState::Stored, "")]);
    let said = view.steps.iter().filter(|step| step.text.contains("did not arrive")).count();
    assert_eq!(said, 1);
    assert_eq!(world.attach(first, 10, [1; 32]).await, Err(Code::Conflict));
}
