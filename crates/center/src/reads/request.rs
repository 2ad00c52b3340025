//! Requests, outages, notices, and the forms.
use protocol::{
    AccountId, Bucket, CustomerId, Outcome, Position, Problem, Reply, ServiceRequestId, Token,
    catalogue::{
        replies::{self, FileBrief, FileState, Outage, OutageState, RequestBrief, RequestKind},
        requests,
    },
};
use storage::{
    rows::{Entity, FileRow, OutageRow, RequestView, ServiceRequest},
    store::Seen,
};

use crate::{
    node::{Answer, Asked, Node, unavailable},
    views,
};

/// How many requests or notices a page has where it is not said, and at most.
const PAGE: u32 = 20;
const MOST: u32 = 50;
/// How long an outage that has ended is still shown, in ms.
const ENDED_SHOWN_MS: u64 = 48 * 3600 * 1000;

fn page(limit: u8) -> u32 {
    if limit == 0 { PAGE } else { u32::from(limit).min(MOST) }
}

impl Node {
    pub(super) fn form_list(&self) -> Answer {
        let forms = self.parts.rules.forms.forms.clone();
        let outcome = Outcome::Done(Reply::FormList(replies::FormList { forms }));
        Answer { outcome, token: Token::default() }
    }

    pub(super) async fn request_list(
        &self,
        customer: CustomerId,
        asked: &requests::RequestList,
    ) -> Result<Answer, Problem> {
        let limit = page(asked.limit);
        let entity = asked.account.map_or(Entity::Customer(customer), Entity::Account);
        let load = async {
            match asked.account {
                Some(account) => self.parts.store.account_requests(account, asked.before, limit).await,
                None => self.parts.store.customer_requests(customer, asked.before, limit).await,
            }
        };
        let seen = match asked.before {
            None => self.view(entity, views::requests(limit), load).await?,
            Some(_) => {
                let Seen { value, position } = load.await.map_err(unavailable)?;
                Seen { value: value.into(), position }
            }
        };
        let is_whole = seen.value.len() as u32 == limit;
        let next_before = seen.value.last().filter(|_| is_whole).map(|last| last.created_ms);
        // Whoever has bound an account sees its faults; what somebody else wrote is theirs.
        let may_see = |r: &&ServiceRequest| r.customer == customer || r.kind == RequestKind::Fault;
        let requests = seen.value.iter().filter(may_see).map(brief).collect();
        let reply = replies::RequestList { requests, next_before };
        Ok(Answer::done(Reply::RequestList(reply), seen.position))
    }

    /// A request, if the customer made it; of a fault report, who has bound its account.
    async fn request_of(
        &self,
        customer: CustomerId,
        id: ServiceRequestId,
    ) -> Result<(RequestView, Position), Problem> {
        let not_found = || Problem::not_found("request");
        let seen = self.view(Entity::Request(id), views::REQUEST, self.parts.store.request(id)).await?;
        let view = seen.value.as_ref().as_ref().ok_or_else(not_found)?;
        let request = &view.request;
        if request.customer != customer {
            let account = request.account.filter(|_| request.kind == RequestKind::Fault);
            if !self.holders(account.ok_or_else(not_found)?).await?.value.contains(&customer) {
                return Err(not_found());
            }
        }
        Ok((view.clone(), seen.position))
    }

    pub(super) async fn request_form(
        &self,
        customer: CustomerId,
        id: ServiceRequestId,
    ) -> Result<Answer, Problem> {
        let (view, position) = self.request_of(customer, id).await?;
        let live = view.files.iter().filter(|file| file.state != FileState::Ended);
        let reply = replies::RequestForm {
            kind: view.request.kind,
            form: view.request.form.parse().ok(),
            files: live.map(|file| file.id).collect(),
        };
        Ok(Answer::done(Reply::RequestForm(reply), position))
    }

    pub(super) async fn request_get(
        &self,
        customer: CustomerId,
        id: ServiceRequestId,
    ) -> Result<Answer, Problem> {
        let (view, position) = self.request_of(customer, id).await?;
        let request = &view.request;
        let reply = replies::RequestGet {
            request: brief(request),
            answers: request.answers.clone(),
            steps: view.steps.clone(),
            outage: request.outage,
            files: view.files.iter().map(shown_file).collect(),
        };
        Ok(Answer::done(Reply::RequestGet(reply), position))
    }

    pub(super) async fn outage_list(&self, asked: &Asked, account: AccountId) -> Result<Answer, Problem> {
        let load = self.parts.store.division_of(account);
        let place = self.view(Entity::Account(account), views::DIVISION, load).await?;
        let division = place.value.as_ref().clone().ok_or_else(|| Problem::not_found("account"))?;
        self.wait_for_token(asked, Bucket::of_division(&division)).await?;
        let now_ms = self.parts.clock.unix_ms();
        let since_ms = now_ms.saturating_sub(ENDED_SHOWN_MS);
        let load = self.parts.store.outages(division.clone(), since_ms);
        let seen = self.view(Entity::division(&division), views::OUTAGES, load).await?;
        let is_shown = |o: &&OutageRow| o.restored_ms.is_none_or(|restored| restored >= since_ms);
        let mut outages: Vec<Outage> =
            seen.value.iter().filter(is_shown).map(|outage| shown_outage(outage, now_ms)).collect();
        outages.sort_by_key(|outage| match outage.state {
            OutageState::Now => (0, outage.starts_ms),
            OutageState::Planned => (1, outage.starts_ms),
            OutageState::Restored => (2, u64::MAX - outage.restored_ms.unwrap_or(0)),
        });
        let mut token = Token::at(place.position);
        token.raise(seen.position);
        Ok(Answer { outcome: Outcome::Done(Reply::OutageList(replies::OutageList { outages })), token })
    }

    pub(super) async fn notice_list(
        &self,
        customer: CustomerId,
        asked: &requests::NoticeList,
    ) -> Result<Answer, Problem> {
        let limit = page(asked.limit);
        let load = self.parts.store.notices(customer, asked.before, limit);
        let seen = match asked.before {
            None => self.view(Entity::Notices(customer), views::notices(limit), load).await?,
            Some(_) => {
                let Seen { value, position } = load.await.map_err(unavailable)?;
                Seen { value: value.into(), position }
            }
        };
        let is_whole = seen.value.notices.len() as u32 == limit;
        let next_before = seen.value.notices.last().filter(|_| is_whole).map(|last| last.number);
        let notices = seen.value.notices.clone();
        let reply = replies::NoticeList { notices, unread: seen.value.unread, next_before };
        Ok(Answer::done(Reply::NoticeList(reply), seen.position))
    }
}

/// A request's head as customers see it.
pub(crate) fn brief(request: &ServiceRequest) -> RequestBrief {
    RequestBrief {
        request: request.id,
        kind: request.kind,
        title_en: request.title_en.clone(),
        title_zh: request.title_zh.clone(),
        account: request.account,
        state: request.state,
        created_ms: request.created_ms,
        changed_ms: request.changed_ms,
        answer_by_ms: request.answer_by_ms,
    }
}

fn shown_file(file: &FileRow) -> FileBrief {
    FileBrief {
        file: file.id,
        name: file.name.clone(),
        size: file.size,
        state: file.state,
        why: file.why.clone(),
        created_ms: file.created_ms,
        changed_ms: file.changed_ms,
    }
}

/// An outage as customers see it.
pub(crate) fn shown_outage(outage: &OutageRow, now_ms: u64) -> Outage {
    let state = match outage.restored_ms {
        Some(_) => OutageState::Restored,
        None if outage.starts_ms > now_ms => OutageState::Planned,
        None => OutageState::Now,
    };
    Outage {
        outage: outage.id,
        planned: outage.planned,
        state,
        area_en: outage.area_en.clone(),
        area_zh: outage.area_zh.clone(),
        cause_en: outage.cause_en.clone(),
        cause_zh: outage.cause_zh.clone(),
        starts_ms: outage.starts_ms,
        estimate_ms: outage.estimate_ms,
        restored_ms: outage.restored_ms,
    }
}
