//! What is in a file: read from the store, written part by part, so that years of use need the memory of a month.
//!
//! Each month is read in a snapshot of its own: readings that come meanwhile may be in it or not, as in any file made a moment
//! earlier or later.
use domain::{
    calendar::Month,
    green_button,
    readings::DayReadings,
    tariff::{Period, Prices, Tariff},
    usage_csv::{self, Words},
};
use jiff::{Timestamp, civil::Date};
use protocol::{
    BillId,
    catalogue::{replies::ExportFailure, requests::ExportWhat},
    envelope::Language,
};
use storage::rows::{Account, Export};

use super::{
    Trouble,
    invoice::{self, Invoice},
    outward::Draft,
};
use crate::{
    day::day_of,
    node::Node,
    reads::{mask_address, mask_name},
};

/// So many payments of an account are looked through for the one that paid a bill.
const MOST_PAYMENTS: u32 = 500;

/// Writes the file of a row.
pub(super) async fn write(node: &Node, row: &Export, draft: &mut Draft) -> Result<(), Trouble> {
    match row.what {
        ExportWhat::UsageCsv { from, to } => usage(node, row, (from, to), draft).await,
        ExportWhat::GreenButton { from, to } => green_button(node, row, (from, to), draft).await,
        ExportWhat::Invoice { bill } => {
            let pdf = bill_invoice(node, bill).await?;
            append(draft, &pdf)
        }
    }
}

async fn usage(node: &Node, row: &Export, asked: (Date, Date), draft: &mut Draft) -> Result<(), Trouble> {
    let (account, from, to) = known(node, row, asked).await?;
    let tariff = node.parts.rules.tariffs.get(account.tariff.as_str());
    let words = match row.language {
        Language::Zh => Words::Zh,
        Language::En => Words::En,
    };
    let mut text = usage_csv::head(words);
    let mut is_empty = true;
    for month in months(from, to) {
        for day in days(node, row, month, (from, to)).await? {
            is_empty = false;
            usage_csv::day(&mut text, &day, periods(tariff, day.date), words);
        }
        append(draft, text.as_bytes())?;
        text.clear();
    }
    if is_empty { Err(Trouble::Never(ExportFailure::NoReadings)) } else { Ok(()) }
}

async fn green_button(
    node: &Node,
    row: &Export,
    asked: (Date, Date),
    draft: &mut Draft,
) -> Result<(), Trouble> {
    let (account, from, to) = known(node, row, asked).await?;
    let title = match row.language {
        Language::Zh => format!("用电量 {} {from} – {to}", account.id),
        Language::En => format!("Electricity use of {} {from} – {to}", account.id),
    };
    // When it was asked for, and its own id: made again, it is the same file.
    let at = Timestamp::from_millisecond(i64::try_from(row.created_ms).unwrap_or(0)).unwrap_or_default();
    let mut text = String::new();
    let point = account.id.to_string();
    let mut writer = green_button::Writer::begin(&mut text, row.id.bits(), at, &title, &point);
    let mut is_empty = true;
    for month in months(from, to) {
        for day in days(node, row, month, (from, to)).await? {
            is_empty = false;
            writer.day(&mut text, &day);
        }
        append(draft, text.as_bytes())?;
        text.clear();
    }
    if is_empty {
        return Err(Trouble::Never(ExportFailure::NoReadings));
    }
    writer.end(&mut text);
    append(draft, text.as_bytes())
}

async fn bill_invoice(node: &Node, id: BillId) -> Result<Vec<u8>, Trouble> {
    let store = node.store();
    let not_paid = || Trouble::Never(ExportFailure::NotPaid);
    let view = store.bill(id).await?.value.filter(|view| !view.head.is_open()).ok_or_else(not_paid)?;
    let payments = store.payments(id.account, None, None, MOST_PAYMENTS).await?.value;
    let paid = payments.iter().filter_map(|payment| payment.settled.as_ref());
    // The one that paid the last of it; none where it was paid from credit alone.
    let paid_ms = paid.filter(|s| s.bills.iter().any(|part| part.bill == id)).map(|s| s.paid_ms).max();
    let tariff = node.parts.rules.tariffs.get(view.head.tariff.as_str());
    let invoice = Invoice {
        bill: id,
        issued_on: view.head.issued_on,
        paid_on: paid_ms.map(day_of),
        buyer: mask_name(&view.account.holder),
        address: mask_address(&view.account.address),
        tariff: tariff.map_or(String::new(), |tariff| tariff.name_zh.clone()),
        energy_wh: view.head.energy_wh,
        amount_fen: view.head.amount_fen,
        lines: &view.detail.lines,
    };
    Ok(invoice::pdf(&invoice))
}

/// The account, and the days that were asked for as far as there can be readings.
async fn known(
    node: &Node,
    row: &Export,
    (from, to): (Date, Date),
) -> Result<(Account, Date, Date), Trouble> {
    let none = || Trouble::Never(ExportFailure::NoReadings);
    let view = node.store().account(row.account, Vec::new()).await?.value.ok_or_else(none)?;
    let (first, last) = view.first_and_last.ok_or_else(none)?;
    let (from, to) = (from.max(first), to.min(last));
    if from <= to { Ok((view.account, from, to)) } else { Err(none()) }
}

fn months(from: Date, to: Date) -> impl Iterator<Item = Month> {
    std::iter::successors(Some(Month::of(from)), |month| Some(month.next()))
        .take_while(move |month| *month <= Month::of(to))
}

async fn days(
    node: &Node,
    row: &Export,
    month: Month,
    (from, to): (Date, Date),
) -> Result<Vec<DayReadings>, Trouble> {
    let past = node.store().past(row.account, month, month).await?.value;
    let days = past.map(|past| past.days).unwrap_or_default();
    Ok(days.into_iter().filter(|day| (from..=to).contains(&day.date)).collect())
}

/// The periods of a tariff on a day; none where it has none.
fn periods(tariff: Option<&Tariff>, date: Date) -> &[Period] {
    match tariff.and_then(|tariff| tariff.version_named(date)).map(|version| &version.prices) {
        Some(Prices::TimeOfUse { periods }) => periods,
        _ => &[],
    }
}

fn append(draft: &mut Draft, bytes: &[u8]) -> Result<(), Trouble> {
    if draft.write(bytes)? { Ok(()) } else { Err(Trouble::Never(ExportFailure::TooLarge)) }
}
