//! A computed bill as the rows of an issued one.
use domain::{
    billing::{BillDraft, BillTerms},
    late_fee::LateFee,
    money::Fen,
    tariff::Tariff,
};
use jiff::{ToSpan, civil::Date};
use protocol::{AccountId, BillId};
use storage::rows::{BillDetail, BillHead};

/// The day of the month of issue until which a bill is to be paid.
const DUE_DAY: i8 = 25;

/// Issues a bill that nothing has been paid of: on the 1st of the month after the one it charges, due on the 25th of that
/// month.
///
/// Readings may come long after their month. Nobody is late with a bill they could not have: one made after its date would
/// have passed is issued on `today`, and due as many days later. `None` for a demonstration's past, which was on time.
pub(crate) fn issue(
    account: AccountId,
    tariff: &Tariff,
    terms: &BillTerms,
    draft: BillDraft,
    today: Option<Date>,
) -> (BillHead, BillDetail) {
    let month = draft.period;
    let issued_in = month.next();
    let (issued_on, due_on) =
        (issued_in.first_day(), Date::constant(issued_in.year(), issued_in.month(), DUE_DAY));
    let (issued_on, due_on) = match today.filter(|today| *today > due_on) {
        Some(today) => (today, today.saturating_add((due_on - issued_on).get_days().days())),
        None => (issued_on, due_on),
    };
    let version = tariff.versions.iter().find(|version| version.valid_from == draft.version);
    let limits = version.map(|v| v.limits_wh(month, terms.household, terms.months_served(month)));
    let head = BillHead {
        id: BillId { account, month },
        tariff: draft.tariff,
        tariff_from: draft.version,
        energy_wh: draft.energy_wh,
        amount_fen: draft.amount_fen,
        paid_fen: Fen::ZERO,
        issued_on,
        due_on,
        late_fee: LateFee::default(),
    };
    let detail = BillDetail {
        lines: draft.lines,
        // What counts within the tier period: nothing where tiers count by month.
        used_before_wh: draft.tier_status.used_in_period_wh - draft.energy_wh,
        tier_limits_wh: limits.unwrap_or_default(),
    };
    (head, detail)
}
