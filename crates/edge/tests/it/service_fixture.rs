//! The invented inside's service: forms, requests, an outage, messages.
use domain::forms::FormBook;
use protocol::{
    AccountId, Bucket, Code, OutageId, Problem, Reply, Request, ServiceRequestId,
    catalogue::replies::{self, *},
};

const NOW_MS: u64 = 1_787_019_840_000;
const MINUTE_MS: u64 = 60_000;

/// What customers have asked for.
pub(crate) struct Desk {
    requests: Vec<RequestGet>,
    /// Power is away at every premise.
    pub(crate) is_off: bool,
    read_through: u64,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk { requests: Vec::new(), is_off: false, read_through: 0 }
    }

    /// Moves the newest request on, as the service does.
    pub(crate) fn step(&mut self, kind: StepKind, state: RequestState, text: &str) {
        let request = self.requests.last_mut().unwrap();
        request.request.state = state;
        if state.is_closed() || state == RequestState::Waiting {
            request.request.answer_by_ms = None;
        }
        let at_ms = NOW_MS + request.steps.len() as u64 * MINUTE_MS;
        request.steps.push(RequestStep { at_ms, by: StepBy::Service, kind, text: text.into() });
    }

    pub(crate) fn serve(&mut self, request: &Request) -> Result<Option<Reply>, Problem> {
        Ok(Some(match request {
            Request::FormList(_) => Reply::FormList(replies::FormList { forms: FormBook::built_in().forms }),
            Request::RequestCreate(r) => {
                let book = FormBook::built_in();
                let form = book.get(r.form.as_str()).ok_or_else(|| Problem::not_found("form"))?;
                let answers = r.answers.iter().map(|a| (a.field.as_str(), &*a.value));
                form.check_answers(answers).map_err(|e| Problem::new(Code::InvalidRequest, e.to_string()))?;
                let shown = r.answers.iter().filter(|a| !a.value.is_empty()).map(|answer| {
                    let field = form.fields.iter().find(|f| f.id == answer.field.as_str()).unwrap();
                    let (en, zh) = field.shown(&answer.value);
                    shown(&field.label_en, &field.label_zh, en, zh)
                });
                let (kind, shown) = (RequestKind::Complaint, shown.collect());
                let request = self.take(kind, (&form.title_en, &form.title_zh), r.account, shown, "");
                Reply::RequestCreate(replies::RequestCreate { request, answer_by_ms: NOW_MS })
            }
            Request::FaultReport(r) => {
                let shown = vec![shown("What is wrong", "故障现象", "No power at all", "全部停电")];
                let title = ("Fault report", "故障报修");
                let request = self.take(RequestKind::Fault, title, Some(r.account), shown, &r.text);
                Reply::FaultReport(replies::FaultReport { request, answer_by_ms: NOW_MS })
            }
            Request::RequestList(r) => {
                let of = |request: &&RequestGet| request.request.account == r.account;
                let requests = self.requests.iter().rev().filter(of).map(|r| r.request.clone()).collect();
                Reply::RequestList(replies::RequestList { requests, next_before: None })
            }
            Request::RequestForm(r) => Reply::RequestForm(RequestForm {
                kind: self.find(r.request)?.request.kind,
                form: None,
                files: Vec::new(),
            }),
            Request::RequestGet(r) => Reply::RequestGet(self.find(r.request)?.clone()),
            Request::RequestNote(r) => {
                let request = self.find(r.request)?;
                let step = RequestStep {
                    at_ms: NOW_MS + 9 * MINUTE_MS,
                    by: StepBy::Customer,
                    kind: StepKind::Note,
                    text: r.text.to_string(),
                };
                request.steps.push(step);
                Reply::RequestNote(replies::RequestNote { request: r.request })
            }
            Request::RequestCancel(r) => {
                self.find(r.request)?.request.state = RequestState::Cancelled;
                Reply::RequestCancel(replies::RequestCancel { request: r.request })
            }
            Request::OutageList(_) => {
                let outages = if self.is_off { vec![outage()] } else { Vec::new() };
                Reply::OutageList(replies::OutageList { outages })
            }
            Request::NoticeList(_) => Reply::NoticeList(self.notices()),
            Request::NoticeRead(r) => {
                self.read_through = r.through.get();
                Reply::NoticeRead(replies::NoticeRead { through: r.through.get() })
            }
            _ => return Ok(None),
        }))
    }

    fn take(
        &mut self,
        kind: RequestKind,
        (title_en, title_zh): (&str, &str),
        account: Option<AccountId>,
        answers: Vec<ShownAnswer>,
        text: &str,
    ) -> ServiceRequestId {
        let n = self.requests.len() as u64 + 1;
        let request = ServiceRequestId::mint(Bucket::of(b"r"), u128::from(n) << 64);
        let head = RequestBrief {
            request,
            kind,
            title_en: title_en.into(),
            title_zh: title_zh.into(),
            account,
            state: RequestState::Received,
            created_ms: NOW_MS + n,
            changed_ms: NOW_MS + n,
            answer_by_ms: Some(NOW_MS + 45 * MINUTE_MS),
        };
        let first =
            RequestStep { at_ms: NOW_MS, by: StepBy::Customer, kind: StepKind::Received, text: text.into() };
        let outage = self.is_off.then(|| outage().outage);
        self.requests.push(RequestGet {
            request: head,
            answers,
            steps: vec![first],
            outage,
            files: Vec::new(),
        });
        request
    }

    fn find(&mut self, id: ServiceRequestId) -> Result<&mut RequestGet, Problem> {
        let found = self.requests.iter_mut().find(|request| request.request.request == id);
        found.ok_or_else(|| Problem::not_found("request"))
    }

    fn notices(&self) -> replies::NoticeList {
        let notices: Vec<_> = (1..)
            .zip(&self.requests)
            .map(|(number, request)| Notice {
                number,
                at_ms: NOW_MS,
                read: number <= self.read_through,
                body: NoticeBody::Request {
                    request: request.request.request,
                    title_en: request.request.title_en.clone(),
                    title_zh: request.request.title_zh.clone(),
                    state: request.request.state,
                    text: request.steps.last().unwrap().text.clone(),
                },
            })
            .collect();
        let unread = notices.iter().filter(|notice| !notice.read).count() as u32;
        replies::NoticeList { notices: notices.into_iter().rev().collect(), unread, next_before: None }
    }
}

fn shown(label_en: &str, label_zh: &str, value_en: &str, value_zh: &str) -> ShownAnswer {
    ShownAnswer {
        label_en: label_en.into(),
        label_zh: label_zh.into(),
        value_en: value_en.into(),
        value_zh: value_zh.into(),
    }
}

fn outage() -> Outage {
    Outage {
        outage: OutageId::mint(Bucket::of(b"o"), 1 << 64),
        planned: false,
        state: OutageState::Now,
        area_en: "Sample Road and around".into(),
        area_zh: "样例路一带".into(),
        cause_en: "A storm brought a line down".into(),
        cause_zh: "大风致线路断落".into(),
        starts_ms: NOW_MS,
        estimate_ms: Some(NOW_MS + 150 * MINUTE_MS),
        restored_ms: None,
    }
}
