//! A computed bill as the rows of an issued one.
use domain::{
    billing::{BillDraft, BillTerms},
    money::Fen,
    tariff::Tariff,
};
use jiff::civil::Date;
use protocol::{AccountId, BillId};
use storage::rows::{BillDetail, BillHead};

/// The day of the month of issue until which a bill is to be paid.
const DUE_DAY: i8 = 25;

/// Issues a bill that nothing has been paid of: on the 1st of the month after the one it charges, due on the 25th of that
/// month.
pub(crate) fn issue(
    account: AccountId,
    tariff: &Tariff,
    terms: &BillTerms,
    draft: BillDraft,
) -> (BillHead, BillDetail) {
    let month = draft.period;
    let issued_in = month.next();
    let version = tariff.versions.iter().find(|version| version.valid_from == draft.version);
    let limits = version.map(|v| v.limits_wh(month, terms.household, terms.months_served(month)));
    let head = BillHead {
        id: BillId { account, month },
        tariff: draft.tariff,
        tariff_from: draft.version,
        energy_wh: draft.energy_wh,
        amount_fen: draft.amount_fen,
        paid_fen: Fen::ZERO,
        issued_on: issued_in.first_day(),
        due_on: Date::constant(issued_in.year(), issued_in.month(), DUE_DAY),
    };
    let detail = BillDetail {
        lines: draft.lines,
        // What counts within the tier period: nothing where tiers count by month.
        used_before_wh: draft.tier_status.used_in_period_wh - draft.energy_wh,
        tier_limits_wh: limits.unwrap_or_default(),
    };
    (head, detail)
}
