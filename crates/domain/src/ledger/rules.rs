//! How bills, payments, credit and corrections are booked.
use super::{Entry, LedgerAccount, LedgerError, Posting, PostingKind};
use crate::money::Fen;

/// A bill that is not fully paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBill<I> {
    /// Its id.
    pub id: I,
    /// What is still owed on it; above zero.
    pub open_fen: Fen,
}

/// How an amount was spread over bills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied<I> {
    /// What each bill got, in the order of the bills; none is zero.
    pub allocations: Vec<(I, Fen)>,
    /// What was left over.
    pub rest_fen: Fen,
}

/// A payment, booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentPosted<I> {
    /// What to append to the ledger.
    pub posting: Posting,
    /// What each bill got, oldest first; none is zero.
    pub allocations: Vec<(I, Fen)>,
    /// What became the customer's credit. Allocations and credit sum to the payment.
    pub credit_fen: Fen,
}

/// Credit, used for bills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditApplied<I> {
    /// What to append to the ledger.
    pub posting: Posting,
    /// What each bill got, oldest first; none is zero.
    pub allocations: Vec<(I, Fen)>,
    /// The credit that is left.
    pub remaining_fen: Fen,
}

/// A bill of `amount` is issued: the account owes it, we have earned it. `None` for a bill of zero: there is
/// nothing to book.
///
/// # Errors
/// [`LedgerError::NotPositive`] for an amount below zero: a correction is a reversal.
pub fn post_bill(account: u64, amount: Fen) -> Result<Option<Posting>, LedgerError> {
    if amount == Fen::ZERO {
        return Ok(None);
    }
    charge(PostingKind::Bill, account, LedgerAccount::Revenue, amount).map(Some)
}

/// A late fee (违约金) of `amount` is charged.
///
/// # Errors
/// [`LedgerError::NotPositive`] for an amount of zero or below.
pub fn post_late_fee(account: u64, amount: Fen) -> Result<Posting, LedgerError> {
    charge(PostingKind::LateFee, account, LedgerAccount::LateFees, amount)
}

fn charge(
    kind: PostingKind,
    account: u64,
    earned: LedgerAccount,
    amount: Fen,
) -> Result<Posting, LedgerError> {
    positive(amount)?;
    Posting::new(kind, vec![entry(LedgerAccount::Receivable { account }, amount), entry(earned, -amount)])
}

/// A payment of `amount` came in from `source` (a provider's clearing account, or the inter-shard clearing account
/// where it was taken on another shard). It pays the open bills, given oldest first; what is left over becomes the
/// account's credit.
///
/// # Errors
/// [`LedgerError::NotPositive`] for an amount or open bill of zero or below.
pub fn post_payment<I: Clone>(
    source: LedgerAccount,
    account: u64,
    amount: Fen,
    open_bills: &[OpenBill<I>],
) -> Result<PaymentPosted<I>, LedgerError> {
    let Applied { allocations, rest_fen } = spread(amount, open_bills)?;
    let paid = amount - rest_fen;
    let mut entries = vec![entry(source, amount)];
    if paid != Fen::ZERO {
        entries.push(entry(LedgerAccount::Receivable { account }, -paid));
    }
    if rest_fen != Fen::ZERO {
        entries.push(entry(LedgerAccount::CustomerCredit { account }, -rest_fen));
    }
    let posting = Posting::new(PostingKind::Payment, entries)?;
    Ok(PaymentPosted { posting, allocations, credit_fen: rest_fen })
}

/// Uses an account's `credit` for its open bills, given oldest first. `None` where there is no credit or no bill.
///
/// # Errors
/// [`LedgerError::NotPositive`] for credit below zero, or an open bill of zero or below.
pub fn apply_credit<I: Clone>(
    account: u64,
    credit: Fen,
    open_bills: &[OpenBill<I>],
) -> Result<Option<CreditApplied<I>>, LedgerError> {
    if credit == Fen::ZERO || open_bills.is_empty() {
        return Ok(None);
    }
    let Applied { allocations, rest_fen } = spread(credit, open_bills)?;
    let used = credit - rest_fen;
    let entries = vec![
        entry(LedgerAccount::CustomerCredit { account }, used),
        entry(LedgerAccount::Receivable { account }, -used),
    ];
    let posting = Posting::new(PostingKind::CreditUse, entries)?;
    Ok(Some(CreditApplied { posting, allocations, remaining_fen: rest_fen }))
}

/// Pays `amount` of an account's `credit` back to `target` (a provider's clearing account).
///
/// # Errors
/// [`LedgerError::NotEnoughCredit`] for more than there is, [`LedgerError::NotPositive`] for zero or below.
pub fn post_refund(
    account: u64,
    target: LedgerAccount,
    amount: Fen,
    credit: Fen,
) -> Result<Posting, LedgerError> {
    positive(amount)?;
    if amount > credit {
        return Err(LedgerError::NotEnoughCredit { asked: amount, available: credit });
    }
    let entries = vec![entry(LedgerAccount::CustomerCredit { account }, amount), entry(target, -amount)];
    Posting::new(PostingKind::Refund, entries)
}

/// Moves `amount` from the `credit` account to the `debit` account: a payment taken here for an account of another
/// shard debits the provider's clearing account and credits [`LedgerAccount::InterShardClearing`]; the other shard
/// then books [`post_payment`] from its own inter-shard clearing account.
///
/// # Errors
/// [`LedgerError::NotPositive`] for an amount of zero or below.
pub fn post_transfer(
    debit: LedgerAccount,
    credit: LedgerAccount,
    amount: Fen,
) -> Result<Posting, LedgerError> {
    positive(amount)?;
    Posting::new(PostingKind::Transfer, vec![entry(debit, amount), entry(credit, -amount)])
}

/// The posting that undoes `posting`: the same entries with the opposite sign.
///
/// # Errors
/// None for a posting that [`Posting::new`] made.
pub fn reverse(posting: &Posting) -> Result<Posting, LedgerError> {
    let opposite = |e: &Entry| entry(e.ledger_account.clone(), -e.amount_fen);
    Posting::new(PostingKind::Reversal, posting.entries().iter().map(opposite).collect())
}

/// Spreads `amount` over bills in their order.
fn spread<I: Clone>(amount: Fen, open_bills: &[OpenBill<I>]) -> Result<Applied<I>, LedgerError> {
    positive(amount)?;
    let mut rest_fen = amount;
    let mut allocations = Vec::new();
    for bill in open_bills {
        positive(bill.open_fen)?;
        let part = rest_fen.min(bill.open_fen);
        if part != Fen::ZERO {
            allocations.push((bill.id.clone(), part));
            rest_fen -= part;
        }
    }
    Ok(Applied { allocations, rest_fen })
}

fn entry(ledger_account: LedgerAccount, amount_fen: Fen) -> Entry {
    Entry { ledger_account, amount_fen }
}

fn positive(amount: Fen) -> Result<(), LedgerError> {
    if amount > Fen::ZERO { Ok(()) } else { Err(LedgerError::NotPositive(amount)) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn provider() -> LedgerAccount {
        LedgerAccount::ProviderClearing { provider: "provider-sim".parse().unwrap() }
    }

    fn open(amounts: &[i64]) -> Vec<OpenBill<usize>> {
        amounts.iter().enumerate().map(|(id, fen)| OpenBill { id, open_fen: Fen(*fen) }).collect()
    }

    #[test]
    fn an_overpayment_becomes_credit_that_the_next_bill_uses() {
        let paid = post_payment(provider(), 7, Fen(1000), &open(&[300, 500])).unwrap();
        assert_eq!(paid.allocations, [(0, Fen(300)), (1, Fen(500))]);
        assert_eq!(paid.credit_fen, Fen(200));
        assert_eq!(paid.posting.on(&LedgerAccount::CustomerCredit { account: 7 }), Fen(-200));
        assert_eq!(paid.posting.on(&provider()), Fen(1000));

        let used = apply_credit(7, paid.credit_fen, &open(&[150])).unwrap().unwrap();
        assert_eq!(used.allocations, [(0, Fen(150))]);
        assert_eq!(used.remaining_fen, Fen(50));
        let refund = post_refund(7, provider(), Fen(50), used.remaining_fen).unwrap();
        assert_eq!(refund.on(&provider()), Fen(-50));
        let too_much = LedgerError::NotEnoughCredit { asked: Fen(51), available: Fen(50) };
        assert_eq!(post_refund(7, provider(), Fen(51), Fen(50)), Err(too_much));
    }

    #[test]
    fn bills_of_nothing_are_not_booked_and_negative_ones_refused() {
        assert_eq!(post_bill(7, Fen(0)), Ok(None));
        assert_eq!(post_bill(7, Fen(-1)), Err(LedgerError::NotPositive(Fen(-1))));
        assert_eq!(post_late_fee(7, Fen(0)), Err(LedgerError::NotPositive(Fen(0))));
        assert_eq!(apply_credit::<usize>(7, Fen(10), &[]), Ok(None));
        let bill = post_bill(7, Fen(23_067)).unwrap().unwrap();
        assert_eq!(bill.on(&LedgerAccount::Receivable { account: 7 }), Fen(23_067));
        assert_eq!(bill.on(&LedgerAccount::Revenue), Fen(-23_067));
    }

    #[test]
    fn a_payment_for_another_shard_leaves_both_at_zero() {
        let between = LedgerAccount::InterShardClearing;
        let here = post_transfer(provider(), between.clone(), Fen(900)).unwrap();
        let there = post_payment(between.clone(), 7, Fen(900), &open(&[1000])).unwrap();
        assert_eq!((sum(&here), sum(&there.posting)), (Fen::ZERO, Fen::ZERO));
        assert_eq!(here.on(&between) + there.posting.on(&between), Fen::ZERO);
    }

    fn sum(posting: &Posting) -> Fen {
        posting.entries().iter().map(|entry| entry.amount_fen).sum()
    }

    proptest! {
        #[test]
        fn payments_are_neither_lost_nor_found(
            amount in 1i64..10_000_000,
            bills in prop::collection::vec(1i64..1_000_000, 0..20),
        ) {
            let bills = open(&bills);
            let paid = post_payment(provider(), 7, Fen(amount), &bills).unwrap();
            prop_assert_eq!(sum(&paid.posting), Fen::ZERO);
            let allocated: Fen = paid.allocations.iter().map(|(_, part)| *part).sum();
            prop_assert_eq!(allocated + paid.credit_fen, Fen(amount));
            prop_assert_eq!(paid.posting.on(&LedgerAccount::Receivable { account: 7 }), -allocated);
            // Oldest first: a bill that got less than it needs is the last that got anything.
            for (n, (id, part)) in paid.allocations.iter().enumerate() {
                prop_assert_eq!(*id, n);
                prop_assert!(*part == bills[n].open_fen || n + 1 == paid.allocations.len());
            }
            prop_assert!(paid.credit_fen == Fen::ZERO || paid.allocations.len() == bills.len());

            let undone = reverse(&paid.posting).unwrap();
            prop_assert_eq!(sum(&undone), Fen::ZERO);
            for entry in paid.posting.entries() {
                prop_assert_eq!(undone.on(&entry.ledger_account), -paid.posting.on(&entry.ledger_account));
            }
        }

        #[test]
        fn credit_is_neither_lost_nor_found(
            credit in 1i64..10_000_000,
            bills in prop::collection::vec(1i64..1_000_000, 1..20),
        ) {
            let used = apply_credit(7, Fen(credit), &open(&bills)).unwrap().unwrap();
            prop_assert_eq!(sum(&used.posting), Fen::ZERO);
            let allocated: Fen = used.allocations.iter().map(|(_, part)| *part).sum();
            prop_assert_eq!(allocated + used.remaining_fen, Fen(credit));
        }
    }
}
