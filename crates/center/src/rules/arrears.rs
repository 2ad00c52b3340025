//! What an account owes on a day, and how money is spread over it: bill by bill, oldest first, of each the amount first
//! and then its late fee. So an amount that covers what is overdue closes exactly the bills that are overdue.
//!
//! A late fee is charged (booked as earned and owed) when money reaches its bill; until then it only accrues. See
//! `docs/adr/0009-late-fees.md`.
use domain::{
    late_fee::{LateFee, LateFeeRate},
    ledger::{self, LedgerError, OpenBill},
    money::Fen,
};
use jiff::civil::Date;
use protocol::{BillId, catalogue::replies::BillPart};
use storage::rows::{BillHead, Put};

use super::{Rules, SupplyTerms};

/// What a part of a sum is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// A bill's amount.
    Bill(BillId),
    /// A bill's late fee.
    LateFee(BillId),
}

/// An account's open bills with their late fees as of a day.
pub(super) struct Arrears<'a> {
    bills: Vec<(&'a BillHead, LateFee)>,
}

impl<'a> Arrears<'a> {
    /// The bills that are open, in any order, with their late fees through `day`.
    pub(super) fn of(
        bills: impl IntoIterator<Item = &'a BillHead>,
        day: Date,
        rate: LateFeeRate,
    ) -> Arrears<'a> {
        let on_day = |bill: &'a BillHead| (bill, bill.late_fee_on(day, rate));
        let mut bills: Vec<_> = bills.into_iter().filter(|bill| bill.is_open()).map(on_day).collect();
        bills.sort_by_key(|(bill, _)| bill.id.month);
        Arrears { bills }
    }

    /// What money is spread over, in order.
    pub(super) fn items(&self) -> Vec<OpenBill<For>> {
        let items = self.bills.iter().flat_map(|(bill, late_fee)| {
            [
                OpenBill { id: For::Bill(bill.id), open_fen: bill.open_fen() },
                OpenBill { id: For::LateFee(bill.id), open_fen: late_fee.open_fen() },
            ]
        });
        items.filter(|item| item.open_fen > Fen::ZERO).collect()
    }

    /// The bills of which something is open when money has been spread so.
    pub(super) fn still_open(&self, allocations: &[(For, Fen)]) -> impl Iterator<Item = &'a BillHead> {
        let got = |bill: BillId| -> Fen {
            let to_it = |what: &For| *what == For::Bill(bill) || *what == For::LateFee(bill);
            allocations.iter().filter(|(what, _)| to_it(what)).map(|(_, part)| *part).sum()
        };
        self.bills
            .iter()
            .filter(move |(bill, late_fee)| got(bill.id) < bill.open_fen() + late_fee.open_fen())
            .map(|(bill, _)| *bill)
    }

    /// What it writes that money was spread so: late fees charged, and what is paid of each bill.
    ///
    /// # Errors
    /// What the ledger refuses.
    pub(super) fn paid(&self, allocations: &[(For, Fen)], at_ms: u64) -> Result<Vec<Put>, LedgerError> {
        let mut puts = Vec::new();
        for (bill, late_fee) in &self.bills {
            let part = |what: For| -> Fen {
                allocations.iter().filter(|(id, _)| *id == what).map(|(_, part)| *part).sum()
            };
            let (amount, fee) = (part(For::Bill(bill.id)), part(For::LateFee(bill.id)));
            if amount == Fen::ZERO && fee == Fen::ZERO {
                continue;
            }
            let charged = late_fee.total_fen() - bill.late_fee.total_fen();
            if charged > Fen::ZERO {
                let posting = ledger::post_late_fee(bill.id.account.number(), charged)?;
                puts.push(Put::Posting { at_ms, text: format!("late fee {}", bill.id), posting });
            }
            let late_fee = LateFee { paid_fen: late_fee.paid_fen + fee, ..*late_fee };
            if late_fee != bill.late_fee {
                puts.push(Put::BillLateFee { bill: bill.id, late_fee });
            }
            if amount != Fen::ZERO {
                puts.push(Put::BillPaid { bill: bill.id, paid_fen: bill.paid_fen + amount });
            }
        }
        Ok(puts)
    }
}

/// What holds for arrears.
#[derive(Clone, Copy)]
pub(super) struct ArrearsTerms {
    pub(super) late_fee: LateFeeRate,
    pub(super) supply: SupplyTerms,
}

impl Rules {
    pub(super) fn arrears_terms(&self) -> ArrearsTerms {
        ArrearsTerms { late_fee: self.late_fee, supply: self.supply }
    }
}

/// The parts that went to bills' amounts, and those that went to their late fees.
pub(super) fn parts(allocations: &[(For, Fen)]) -> (Vec<BillPart>, Vec<BillPart>) {
    let (mut bills, mut late_fees) = (Vec::new(), Vec::new());
    for (what, amount_fen) in allocations {
        let (parts, bill) = match what {
            For::Bill(bill) => (&mut bills, *bill),
            For::LateFee(bill) => (&mut late_fees, *bill),
        };
        parts.push(BillPart { bill, amount_fen: *amount_fen });
    }
    (bills, late_fees)
}
