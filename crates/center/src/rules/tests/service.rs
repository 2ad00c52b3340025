//! Requests, outages and what customers are told.
use protocol::{
    OutageId, ServiceRequestId,
    bounds::{Few, Prose},
    catalogue::{
        replies::{NoticeBody, RequestKind, RequestState, StepBy, StepKind},
        requests::{Answer, FaultKind, FaultReport, NoticeRead, RequestCancel, RequestCreate, RequestNote},
    },
};
use storage::rows::{OutageRow, RequestView};

use super::*;
use crate::{
    operation::{OutagePut, RequestAdvance},
    rules::outage_id,
};

const DIVISION: &str = "110105";

impl World {
    pub(super) async fn create(
        &mut self,
        form: &str,
        account: Option<AccountId>,
        answers: &[(&str, &str)],
    ) -> Result<ServiceRequestId, Code> {
        let answer = |&(field, value): &(&str, &str)| Answer {
            field: field.parse().unwrap(),
            value: Prose::new(value).unwrap(),
        };
        let answers = Few::new(answers.iter().map(answer).collect()).unwrap();
        match self.ask(RequestCreate { form: form.parse().unwrap(), account, answers }).await? {
            Reply::RequestCreate(r) => Ok(r.request),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn fault(&mut self, account: AccountId) -> Result<ServiceRequestId, Code> {
        let text = Prose::new("整个单元没电\n从八点开始").unwrap();
        let asked = FaultReport { account, kind: FaultKind::NoPower, text, phone: None };
        match self.ask(asked).await? {
            Reply::FaultReport(r) => Ok(r.request),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn step(
        &mut self,
        request: ServiceRequestId,
        kind: StepKind,
        text: &str,
    ) -> Result<Reply, Code> {
        let advance = RequestAdvance { request, by: StepBy::Service, kind, text: text.into(), outage: None };
        self.own(Own::RequestAdvance(advance), request.bucket()).await
    }

    async fn request(&self, id: ServiceRequestId) -> RequestView {
        self.store.request(id).await.unwrap().value.unwrap()
    }

    async fn outage(&mut self, name: &str, starts_ms: u64, restored_ms: Option<u64>) -> OutageId {
        let outage = OutageRow {
            id: outage_id(DIVISION, name),
            division: DIVISION.into(),
            planned: false,
            area_en: "Sample Road".into(),
            area_zh: "样例路".into(),
            cause_en: String::new(),
            cause_zh: String::new(),
            starts_ms,
            estimate_ms: Some(starts_ms + 3600 * SECOND),
            restored_ms,
        };
        let id = outage.id;
        self.own(Own::OutagePut(OutagePut { outage }), Bucket::of_division(DIVISION)).await.unwrap();
        id
    }

    async fn told(&self) -> Vec<(RequestState, String)> {
        let customer = self.customer.unwrap();
        let page = self.store.notices(customer, None, 50).await.unwrap().value;
        let said = page.notices.into_iter().map(|notice| match notice.body {
            NoticeBody::Request { state, text, .. } => (state, text),
            other => panic!("{other:?}"),
        });
        said.collect()
    }
}

#[tokio::test]
async fn a_form_is_taken_as_it_is_configured_and_nothing_else_is() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let reading = [("reading", "12345"), ("read-on", "2027-01-31")];
    let id = world.create("complaint-meter", Some(account), &reading).await.unwrap();
    let view = world.request(id).await;
    assert_eq!((view.request.kind, view.request.state), (RequestKind::Complaint, RequestState::Received));
    assert_eq!(view.request.answer_by_ms, Some(world.now_ms + 48 * 3600 * SECOND));
    assert_eq!(view.request.answers[0].label_zh, "电能表当前示数（千瓦时）");
    assert_eq!((view.steps.len(), view.steps[0].kind), (1, StepKind::Received));
    let topic = [("topic", "tier"), ("question", "为什么进入第二档？")];
    let id = world.create("billing-question", None, &topic).await.unwrap();
    assert_eq!(world.request(id).await.request.answers[0].value_en, "Tiers and prices");
    assert_eq!(id.bucket(), world.customer.unwrap().bucket());

    let elsewhere = AccountId::mint(11, 78).unwrap();
    for (form, about, answers, code) in [
        ("no-such-form", None, &reading[..], Code::InvalidRequest),
        ("complaint-meter", None, &reading[..], Code::InvalidRequest),
        ("suggestion", Some(account), &[("suggestion", "x")][..], Code::InvalidRequest),
        ("complaint-meter", Some(elsewhere), &reading[..], Code::NotFound),
        ("complaint-meter", Some(account), &[("reading", "1")][..], Code::InvalidRequest),
        (
            "complaint-meter",
            Some(account),
            &[("reading", "x"), ("read-on", "2027-01-31")][..],
            Code::InvalidRequest,
        ),
        ("suggestion", None, &[("suggestion", "")][..], Code::InvalidRequest),
    ] {
        assert_eq!(world.create(form, about, answers).await, Err(code), "{form} {answers:?}");
    }
}

#[tokio::test]
async fn a_customer_has_so_many_requests_open_and_one_closed_makes_room() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let mut last = None;
    for _ in 0..20 {
        last = Some(world.create("suggestion", None, &[("suggestion", "x")]).await.unwrap());
    }
    assert_eq!(world.create("suggestion", None, &[("suggestion", "x")]).await, Err(Code::Conflict));
    assert_eq!(world.fault(account).await, Err(Code::Conflict));
    world.ask(RequestCancel { request: last.unwrap() }).await.unwrap();
    world.fault(account).await.unwrap();
}

#[tokio::test]
async fn a_clock_stands_while_the_customer_has_the_word() {
    let mut world = World::new();
    world.bound_account().await;
    let id = world.create("suggestion", None, &[("suggestion", "x")]).await.unwrap();
    let hour = 3600 * SECOND;
    world.now_ms += 10 * hour;
    world.step(id, StepKind::Assigned, "").await.unwrap();
    world.step(id, StepKind::Asked, "哪个小区？").await.unwrap();
    let asked = world.request(id).await.request;
    assert_eq!((asked.state, asked.answer_by_ms), (RequestState::Waiting, None));
    assert_eq!(asked.paused_left_ms, Some(62 * hour));
    world.now_ms += 1_000 * hour;
    world.ask(RequestNote { request: id, text: Prose::new("样例小区").unwrap() }).await.unwrap();
    let going = world.request(id).await.request;
    assert_eq!((going.state, going.answer_by_ms), (RequestState::UnderWay, Some(world.now_ms + 62 * hour)));
    // A word that nobody asked for moves no clock.
    world.ask(RequestNote { request: id, text: Prose::new("谢谢").unwrap() }).await.unwrap();
    assert_eq!(world.request(id).await.request.answer_by_ms, going.answer_by_ms);
    world.step(id, StepKind::Done, "已转交相关部门。").await.unwrap();
    let done = world.request(id).await;
    assert_eq!((done.request.state, done.request.answer_by_ms), (RequestState::Done, None));
    assert_eq!(done.steps.len(), 6);
    assert_eq!(done.request.steps, 6);

    for closed in [
        world.step(id, StepKind::Note, "").await,
        world.ask(RequestNote { request: id, text: Prose::new("?").unwrap() }).await,
        world.ask(RequestCancel { request: id }).await,
    ] {
        assert_eq!(closed, Err(Code::Conflict));
    }
    world.carry().await;
    let said = world.told().await;
    assert_eq!(said.len(), 3);
    assert_eq!(said[0], (RequestState::Done, "已转交相关部门。".to_owned()), "newest first");
}

#[tokio::test]
async fn another_customer_neither_adds_to_a_request_nor_withdraws_it() {
    let mut world = World::new();
    world.bound_account().await;
    let id = world.create("suggestion", None, &[("suggestion", "x")]).await.unwrap();
    world.customer = Some(world.log_in("19900000002").await.0);
    let note = RequestNote { request: id, text: Prose::new("x").unwrap() };
    assert_eq!(world.ask(note).await, Err(Code::NotFound));
    assert_eq!(world.ask(RequestCancel { request: id }).await, Err(Code::NotFound));
    assert_eq!(world.request(id).await.steps.len(), 1);
}

#[tokio::test]
async fn reports_join_an_outage_before_and_after_it_is_published_and_are_closed_once() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let before = world.fault(account).await.unwrap();
    world.carry().await;
    assert_eq!(world.request(before).await.request.outage, None);
    world.now_ms += 600 * SECOND;
    // A planned one that has not begun takes nobody in.
    world.outage("planned", world.now_ms + 1, None).await;
    world.carry().await;
    assert_eq!(world.request(before).await.request.outage, None);

    let storm = world.outage("storm", world.now_ms, None).await;
    world.carry().await;
    assert_eq!(world.request(before).await.request.outage, Some(storm));
    world.now_ms += 60 * SECOND;
    let after = world.fault(account).await.unwrap();
    world.carry().await;
    // The one planned for a moment after has begun by now as well; a report belongs to the newest.
    let joined = world.request(after).await;
    assert!(joined.request.outage.is_some());
    assert_eq!(joined.steps[1].kind, StepKind::Joined);
    let withdrawn = world.fault(account).await.unwrap();
    world.carry().await;
    world.ask(RequestCancel { request: withdrawn }).await.unwrap();

    // Changed, published again: nobody is told twice.
    world.outage("storm", world.now_ms - 60 * SECOND, None).await;
    world.carry().await;
    assert_eq!(world.request(before).await.steps.len(), 2);

    world.now_ms += 600 * SECOND;
    for name in ["storm", "planned"] {
        for _ in 0..2 {
            let starts = world.now_ms - 660 * SECOND;
            world.outage(name, starts, Some(world.now_ms)).await;
            world.carry().await;
        }
    }
    for id in [before, after] {
        let view = world.request(id).await;
        assert_eq!(view.request.state, RequestState::Done);
        assert_eq!(view.steps.iter().filter(|step| step.kind == StepKind::Done).count(), 1);
        assert_eq!(view.steps.last().unwrap().by, StepBy::System);
    }
    assert_eq!(world.request(withdrawn).await.request.state, RequestState::Cancelled);
    let done = world.told().await.iter().filter(|(state, _)| *state == RequestState::Done).count();
    assert_eq!(done, 2, "each is told once");
}

#[tokio::test]
async fn an_outage_with_more_reports_than_fit_one_operation_closes_them_all() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let storm = world.outage("storm", world.now_ms, None).await;
    let mut ids = Vec::new();
    for n in 0..1_003u32 {
        // Withdrawn at once, so that more may be open; its district does not know.
        world.now_ms += 1;
        let id = world.fault(account).await.unwrap();
        if n % 500 != 1 {
            world.ask(RequestCancel { request: id }).await.unwrap();
        } else {
            ids.push(id);
        }
    }
    world.carry().await;
    for id in &ids {
        assert_eq!(world.request(*id).await.request.outage, Some(storm));
    }
    let starts = START_MS;
    world.now_ms += SECOND;
    world.outage("storm", starts, Some(world.now_ms)).await;
    world.carry().await;
    for id in ids {
        assert_eq!(world.request(id).await.request.state, RequestState::Done);
    }
}

#[tokio::test]
async fn who_paid_is_told_once_for_each_debit() {
    let mut world = World::new();
    let account = world.bound_account().await;
    let payment = world.order(account, 100).await;
    for transaction in ["t1", "t1", "t2"] {
        world.settle(payment, transaction, 100).await.unwrap();
    }
    world.carry().await;
    let page = world.store.notices(world.customer.unwrap(), None, 10).await.unwrap().value;
    let about = NoticeBody::Payment { payment, account, amount_fen: Fen(100) };
    assert_eq!(
        page.notices.into_iter().map(|notice| notice.body).collect::<Vec<_>>(),
        [about.clone(), about]
    );
}

#[tokio::test]
async fn notices_are_numbered_counted_and_marked() {
    let mut world = World::new();
    world.bound_account().await;
    let customer = world.customer.unwrap();
    let id = world.create("suggestion", None, &[("suggestion", "x")]).await.unwrap();
    for n in 0..5 {
        world.step(id, StepKind::Note, &n.to_string()).await.unwrap();
    }
    world.carry().await;
    let page = |before, limit| world.store.notices(customer, before, limit);
    let first = page(None, 2).await.unwrap().value;
    assert_eq!((first.notices.len(), first.unread), (2, 5));
    let next = page(Some(first.notices[1].number), 10).await.unwrap().value;
    assert_eq!(next.notices.len(), 3);
    let through = next.notices[0].number;
    for through in [through, through - 1] {
        world.ask(NoticeRead { through: through.try_into().unwrap() }).await.unwrap();
    }
    let marked = world.store.notices(customer, None, 10).await.unwrap().value;
    assert_eq!(marked.unread, 2, "what is read stays read");
    assert_eq!(marked.notices.iter().filter(|notice| notice.read).count(), 3);
}
