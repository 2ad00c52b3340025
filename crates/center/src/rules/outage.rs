//! Outages of a district, and the fault reports that turn out to belong to one.
use protocol::{
    Bucket, OutageId, Reply, ServiceRequestId,
    catalogue::replies::{self, StepBy, StepKind},
};
use storage::{
    message::{Child, Decision, NewMessage},
    rows::{DivisionReport, OutageRow, Put},
    working_set::WorkingSet,
};

use super::Decided;
use crate::operation::{DivisionReportAdd, OutageClose, OutagePut, Own, RequestAdvance};

/// Reports made so long before an outage was published may belong to it, in ms.
const REPORTS_BEFORE_MS: u64 = 6 * 3600 * 1000;
/// The most reports told in one operation; the rest follows in the next.
const MOST_TOLD: usize = 500;

pub(super) fn put(rows: &WorkingSet, message: &NewMessage, asked: &OutagePut) -> Decided {
    let outage = &asked.outage;
    let known = rows.division(&outage.division)?;
    let before = known.and_then(|known| known.outages.iter().find(|o| o.id == outage.id));
    let mut puts = vec![Put::Outage(outage.clone())];
    let mut children = Vec::new();
    let is_now = outage.restored_ms.is_none() && outage.starts_ms <= message.origin.accepted_ms;
    if is_now {
        let from_ms = outage.starts_ms.saturating_sub(REPORTS_BEFORE_MS);
        let alone = known.map_or(&[][..], |known| &known.alone);
        for report in alone.iter().filter(|report| report.at_ms >= from_ms).take(MOST_TOLD) {
            let report = DivisionReport { outage: Some(outage.id), ..*report };
            puts.push(Put::DivisionReport { division: outage.division.clone(), report });
            children.push(tell(report.request, outage.id, StepKind::Joined));
        }
    }
    if outage.restored_ms.is_some() && before.is_some_and(|before| before.restored_ms.is_none()) {
        children.extend(tell_restored(rows, outage.id, ServiceRequestId::from_bits(0))?);
    }
    Ok(Decision { children, ..Decision::done(shown(outage, message.origin.accepted_ms), puts) })
}

pub(super) fn close(rows: &WorkingSet, asked: &OutageClose) -> Decided {
    let children = tell_restored(rows, asked.outage, asked.after)?;
    let reply = Reply::OutageList(replies::OutageList { outages: Vec::new() });
    Ok(Decision { children, ..Decision::done(reply, Vec::new()) })
}

/// Tells the reports of an outage after one that power is back, and goes on by an operation of its own where there are
/// more than fit.
fn tell_restored(
    rows: &WorkingSet,
    outage: OutageId,
    after: ServiceRequestId,
) -> Result<Vec<Child>, storage::working_set::NotLoaded> {
    let reports = rows.outage_reports(&(outage, after))?.map_or(&[][..], Vec::as_slice);
    let told = &reports[..reports.len().min(MOST_TOLD)];
    let mut children: Vec<_> =
        told.iter().map(|report| tell(report.request, outage, StepKind::Done)).collect();
    if let (Some(last), true) = (told.last(), told.len() == MOST_TOLD) {
        children.push(Own::OutageClose(OutageClose { outage, after: last.request }).child(outage.bucket()));
    }
    Ok(children)
}

fn tell(request: ServiceRequestId, outage: OutageId, kind: StepKind) -> Child {
    let advance =
        RequestAdvance { request, by: StepBy::System, kind, text: String::new(), outage: Some(outage) };
    Own::RequestAdvance(advance).child(request.bucket())
}

pub(super) fn report(rows: &WorkingSet, asked: &DivisionReportAdd) -> Decided {
    let known = rows.division(&asked.division)?;
    let is_now = |o: &&OutageRow| o.restored_ms.is_none() && o.starts_ms <= asked.at_ms;
    let outage = known.and_then(|known| known.outages.iter().find(is_now)).map(|outage| outage.id);
    let report = DivisionReport { request: asked.request, at_ms: asked.at_ms, outage };
    let children = outage.map(|outage| tell(asked.request, outage, StepKind::Joined)).into_iter().collect();
    let reply = Reply::OutageList(replies::OutageList { outages: Vec::new() });
    let puts = vec![Put::DivisionReport { division: asked.division.clone(), report }];
    Ok(Decision { children, ..Decision::done(reply, puts) })
}

fn shown(outage: &OutageRow, now_ms: u64) -> Reply {
    let outages = vec![crate::reads::shown_outage(outage, now_ms)];
    Reply::OutageList(replies::OutageList { outages })
}

/// The id of an outage that an operator publishes for a district under a name of their own.
pub(crate) fn outage_id(division: &str, name: &str) -> OutageId {
    let bucket = Bucket::of_division(division);
    OutageId::from_bits(protocol::OperationId::derive(bucket, "outage", division, name).bits())
}
