//! What the first demonstration customer finds at the service's desk: a planned outage at home, an answered question; and
//! a desk that works by itself, so that a newcomer sees a request move without anybody there.
use std::time::Duration;

use jiff::{civil::Date, tz::Offset};
use protocol::{
    Bucket, OutageId, ServiceRequestId, ShardId,
    catalogue::replies::{NoticeBody, RequestKind, RequestState, RequestStep, ShownAnswer, StepBy, StepKind},
};
use runtime::shutdown::Shutdown;
use storage::rows::{OutageRow, Put, ServiceRequest};

use super::{DemoError, household::Household};
use crate::{
    node::Node,
    operation::{Own, RequestAdvance},
};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;
/// How often the desk that works by itself looks, and how many requests of a shard it looks at.
const ROUND: Duration = Duration::from_secs(5);
const MOST: u32 = 50;

/// The outage and the request, each with where it lives. Putting them again changes nothing.
pub(super) fn rows(household: &Household, today: Date) -> Result<Vec<(Bucket, Put)>, DemoError> {
    let morning = at(today, 9)?;
    let account = household.account;
    let division = household.place.division.to_owned();
    let bucket = Bucket::of_division(&division);
    let outage = OutageRow {
        id: OutageId::mint(bucket, 0x5a01 << 64),
        division,
        planned: true,
        area_en: "Sample Road and around (example)".into(),
        area_zh: "样例路及周边（样例）".into(),
        cause_en: "A transformer is replaced".into(),
        cause_zh: "更换配电变压器".into(),
        starts_ms: morning + 3 * DAY_MS,
        estimate_ms: Some(morning + 3 * DAY_MS + 180 * MINUTE_MS),
        restored_ms: None,
    };
    let (request, steps) = question(household, morning.saturating_sub(20 * DAY_MS));
    let steps = (0..).zip(steps).map(|(n, step)| Put::RequestStep { request: request.id, n, step });
    let mut puts: Vec<_> = steps.map(|put| (account.bucket(), put)).collect();
    puts.push((account.bucket(), Put::Request(request)));
    puts.push((bucket, Put::Outage(outage)));
    Ok(puts)
}

/// What the customer was told about the request.
pub(super) fn notice(household: &Household, today: Date) -> Result<Put, DemoError> {
    let (request, steps) = question(household, at(today, 9)?.saturating_sub(20 * DAY_MS));
    let text = steps.last().map(|step| step.text.clone()).unwrap_or_default();
    let body = NoticeBody::Request {
        request: request.id,
        title_en: request.title_en,
        title_zh: request.title_zh,
        state: request.state,
        text,
    };
    Ok(Put::Notice { customer: household.customer, at_ms: request.changed_ms, body })
}

fn question(household: &Household, asked_ms: u64) -> (ServiceRequest, Vec<RequestStep>) {
    let shown = |label_en: &str, label_zh: &str, value_en: &str, value_zh: &str| ShownAnswer {
        label_en: label_en.into(),
        label_zh: label_zh.into(),
        value_en: value_en.into(),
        value_zh: value_zh.into(),
    };
    let words = "How far am I from the next tier? 离第二档还有多少度？";
    let answer = "Your home page shows it, up to the last reading. 首页“阶梯电价”会显示剩余电量，每日更新。";
    let step = |minutes: u64, by, kind, text: &str| RequestStep {
        at_ms: asked_ms + minutes * MINUTE_MS,
        by,
        kind,
        text: text.into(),
    };
    let steps = vec![
        step(0, StepBy::Customer, StepKind::Received, ""),
        step(7, StepBy::Service, StepKind::Assigned, ""),
        step(95, StepBy::Service, StepKind::Done, answer),
    ];
    let request = ServiceRequest {
        id: ServiceRequestId::mint(household.account.bucket(), 0x5a02 << 64),
        account: Some(household.account),
        customer: household.customer,
        kind: RequestKind::Consult,
        form: "billing-question".into(),
        title_en: "Ask about a bill".into(),
        title_zh: "电费咨询".into(),
        answers: vec![
            shown("What is it about?", "咨询内容", "Tiers and prices", "阶梯与电价"),
            shown("Your question", "问题描述", words, words),
        ],
        state: RequestState::Done,
        created_ms: asked_ms,
        changed_ms: asked_ms + 95 * MINUTE_MS,
        answer_by_ms: None,
        paused_left_ms: None,
        outage: None,
        steps: 3,
    };
    (request, steps)
}

fn at(today: Date, hour: i8) -> Result<u64, DemoError> {
    let zoned = today.at(hour, 0, 0, 0).to_zoned(Offset::constant(8).to_time_zone());
    let ms = zoned.map_err(|_| DemoError::Today(today))?.timestamp().as_millisecond();
    Ok(ms.unsigned_abs())
}

/// What happens next to a request that has stood for so long, if anything.
fn next(state: RequestState, stood_ms: u64) -> Option<(StepKind, &'static str)> {
    match (state, stood_ms) {
        (RequestState::Received, 20_000..) => Some((StepKind::Assigned, "")),
        (RequestState::Assigned, 40_000..) => Some((StepKind::Started, "")),
        (RequestState::UnderWay, 120_000..) => Some((
            StepKind::Done,
            "This is a demonstration: nobody came, and it is closed. 样例系统自动办结，未实际派人处理。",
        )),
        _ => None,
    }
}

/// Moves requests on as a service desk would, until shutdown. Those of an outage wait for its end.
pub(crate) async fn desk(node: Node, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = shutdown.begun() => return,
        }
        let now_ms = node.clock().unix_ms();
        for shard in (0..node.store().map().shards()).map(ShardId) {
            let Ok(open) = node.store().open_requests(shard, MOST).await else { continue };
            for request in open.iter().filter(|request| request.outage.is_none()) {
                let stood_ms = now_ms.saturating_sub(request.changed_ms);
                let Some((kind, text)) = next(request.state, stood_ms) else { continue };
                let advance = RequestAdvance {
                    request: request.id,
                    by: StepBy::Service,
                    kind,
                    text: text.to_owned(),
                    outage: None,
                };
                // The same step of the same request is the same operation.
                let key = format!("{} {}", request.id, request.steps);
                let own = Own::RequestAdvance(advance);
                if let Err(problem) = node.run_own(own, request.id.bucket(), &key).await {
                    tracing::warn!(request = %request.id, %problem, "the demonstration's desk could not move a request on");
                }
            }
        }
    }
}
