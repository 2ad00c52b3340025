//! The rules of the ledger: double entry, append-only, zero in sum.
//!
//! Money that a customer paid must never be lost, found twice, or changed afterwards. So every change is a
//! [`Posting`] whose entries sum to zero, which cannot be built otherwise; nothing is edited, a mistake is answered
//! by a [`reverse`]d posting. What leaves a shard goes through a clearing account, so that each shard sums to zero
//! by itself.
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::money::Fen;

mod rules;

pub use rules::{
    Applied, CreditApplied, OpenBill, PaymentPosted, apply_credit, post_bill, post_late_fee, post_payment,
    post_refund, post_transfer, reverse,
};

/// An account of the ledger. Its code ([`LedgerAccount::code`]) and, where it has one, its account number are what
/// is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum LedgerAccount {
    /// What a customer account owes.
    Receivable {
        /// Account number (用电户号).
        account: u64,
    },
    /// What is held for a customer account: overpayments, until a bill uses them or they are refunded.
    CustomerCredit {
        /// Account number (用电户号).
        account: u64,
    },
    /// Earned by selling energy.
    Revenue,
    /// Earned by late fees (违约金).
    LateFees,
    /// Between us and a payment provider: what it collected and has not settled yet.
    ProviderClearing {
        /// Which provider.
        provider: ProviderCode,
    },
    /// Between this shard and others.
    InterShardClearing,
}

/// A payment provider's short name, such as `provider-sim`: 1 to 32 of `a`–`z`, `0`–`9` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProviderCode(String);

impl ProviderCode {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProviderCode {
    type Error = LedgerError;

    fn try_from(text: String) -> Result<ProviderCode, LedgerError> {
        let fits = (1..=32).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(ProviderCode(text)) } else { Err(LedgerError::Code) }
    }
}

impl FromStr for ProviderCode {
    type Err = LedgerError;

    fn from_str(text: &str) -> Result<ProviderCode, LedgerError> {
        ProviderCode::try_from(text.to_owned())
    }
}

impl From<ProviderCode> for String {
    fn from(code: ProviderCode) -> String {
        code.0
    }
}

impl LedgerAccount {
    /// Its stable code: `receivable`, `credit`, `revenue`, `late-fees`, `clearing:provider-sim`, `inter-shard`.
    pub fn code(&self) -> Cow<'static, str> {
        match self {
            LedgerAccount::Receivable { .. } => Cow::Borrowed("receivable"),
            LedgerAccount::CustomerCredit { .. } => Cow::Borrowed("credit"),
            LedgerAccount::Revenue => Cow::Borrowed("revenue"),
            LedgerAccount::LateFees => Cow::Borrowed("late-fees"),
            LedgerAccount::ProviderClearing { provider } => {
                Cow::Owned(format!("clearing:{}", provider.as_str()))
            }
            LedgerAccount::InterShardClearing => Cow::Borrowed("inter-shard"),
        }
    }

    /// The account number, where it belongs to a customer account.
    pub fn account(&self) -> Option<u64> {
        match self {
            LedgerAccount::Receivable { account } | LedgerAccount::CustomerCredit { account } => {
                Some(*account)
            }
            _ => None,
        }
    }

    /// The account of a stored code and account number.
    ///
    /// # Errors
    /// [`LedgerError::Code`] for an unknown code, or an account number too many or too few.
    pub fn from_code(code: &str, account: Option<u64>) -> Result<LedgerAccount, LedgerError> {
        match (code, account) {
            ("receivable", Some(account)) => Ok(LedgerAccount::Receivable { account }),
            ("credit", Some(account)) => Ok(LedgerAccount::CustomerCredit { account }),
            ("revenue", None) => Ok(LedgerAccount::Revenue),
            ("late-fees", None) => Ok(LedgerAccount::LateFees),
            ("inter-shard", None) => Ok(LedgerAccount::InterShardClearing),
            (code, None) => {
                let provider = code.strip_prefix("clearing:").ok_or(LedgerError::Code)?.parse()?;
                Ok(LedgerAccount::ProviderClearing { provider })
            }
            _ => Err(LedgerError::Code),
        }
    }
}

impl fmt::Display for LedgerAccount {
    /// The code, and the account number after a `/` where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code())?;
        self.account().map_or(Ok(()), |account| write!(f, "/{account}"))
    }
}

/// One side of a posting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it is booked.
    pub ledger_account: LedgerAccount,
    /// Debit positive, credit negative; never zero.
    pub amount_fen: Fen,
}

/// What a posting is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostingKind {
    /// A bill was issued.
    Bill,
    /// Money came in.
    Payment,
    /// Credit was used for bills.
    CreditUse,
    /// Credit was paid back.
    Refund,
    /// A late fee was charged.
    LateFee,
    /// An earlier posting was undone.
    Reversal,
    /// Money went to or came from another shard.
    Transfer,
}

/// Entries that are booked together: 2 to 64, none of them zero, zero in sum. It cannot be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "PostingFields")]
pub struct Posting {
    kind: PostingKind,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PostingFields {
    kind: PostingKind,
    entries: Vec<Entry>,
}

/// Why something cannot be posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// No entries.
    #[error("a posting without entries")]
    Empty,
    /// More than 64 entries.
    #[error("a posting of {0} entries is too long")]
    TooMany(usize),
    /// An entry of zero.
    #[error("an entry of zero")]
    ZeroEntry,
    /// The entries do not sum to zero.
    #[error("the entries sum to {0}, not to zero")]
    Unbalanced(Fen),
    /// A sum that does not fit.
    #[error("an amount out of range")]
    Overflow,
    /// An amount that must be above zero and is not.
    #[error("an amount of {0} where one above zero is needed")]
    NotPositive(Fen),
    /// More credit asked for than there is.
    #[error("{asked} asked for, {available} available")]
    NotEnoughCredit {
        /// What was asked for.
        asked: Fen,
        /// What there is.
        available: Fen,
    },
    /// No code of a ledger account or provider.
    #[error("not a ledger account")]
    Code,
}

impl Posting {
    const MAX_ENTRIES: usize = 64;

    /// A posting of these entries.
    ///
    /// # Errors
    /// [`LedgerError`] where they are none or too many, one is zero, or they do not sum to zero.
    pub fn new(kind: PostingKind, entries: Vec<Entry>) -> Result<Posting, LedgerError> {
        if entries.is_empty() {
            return Err(LedgerError::Empty);
        }
        if entries.len() > Posting::MAX_ENTRIES {
            return Err(LedgerError::TooMany(entries.len()));
        }
        let mut sum = Fen::ZERO;
        for entry in &entries {
            // The smallest number has no opposite, so it could not be reversed.
            if entry.amount_fen.0 == i64::MIN {
                return Err(LedgerError::Overflow);
            }
            if entry.amount_fen == Fen::ZERO {
                return Err(LedgerError::ZeroEntry);
            }
            sum = sum.checked_add(entry.amount_fen).ok_or(LedgerError::Overflow)?;
        }
        if sum == Fen::ZERO { Ok(Posting { kind, entries }) } else { Err(LedgerError::Unbalanced(sum)) }
    }

    /// What it is about.
    pub fn kind(&self) -> PostingKind {
        self.kind
    }

    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The sum of its entries on one ledger account, debit positive.
    pub fn on(&self, ledger_account: &LedgerAccount) -> Fen {
        let there = self.entries.iter().filter(|entry| entry.ledger_account == *ledger_account);
        // Entries of each sign sum within range (the constructor adds them all), but a part of them may not.
        let exact: i128 = there.map(|entry| i128::from(entry.amount_fen.0)).sum();
        Fen(i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX }))
    }
}

impl TryFrom<PostingFields> for Posting {
    type Error = LedgerError;

    fn try_from(fields: PostingFields) -> Result<Posting, LedgerError> {
        Posting::new(fields.kind, fields.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_stable_and_read_back() {
        let accounts = [
            (LedgerAccount::Receivable { account: 33_010_612_345 }, "receivable"),
            (LedgerAccount::CustomerCredit { account: 7 }, "credit"),
            (LedgerAccount::Revenue, "revenue"),
            (LedgerAccount::LateFees, "late-fees"),
            (
                LedgerAccount::ProviderClearing { provider: "provider-sim".parse().unwrap() },
                "clearing:provider-sim",
            ),
            (LedgerAccount::InterShardClearing, "inter-shard"),
        ];
        for (account, code) in accounts {
            assert_eq!(account.code(), code);
            assert_eq!(LedgerAccount::from_code(code, account.account()), Ok(account));
        }
        for (code, account) in [("receivable", None), ("revenue", Some(1)), ("clearing:", None), ("x", None)]
        {
            assert_eq!(LedgerAccount::from_code(code, account), Err(LedgerError::Code));
        }
    }

    #[test]
    fn a_posting_is_checked_when_it_is_received() {
        let account = LedgerAccount::Receivable { account: 7 };
        let earned = Entry { ledger_account: LedgerAccount::Revenue, amount_fen: Fen(-5) };
        let posting = Posting::new(
            PostingKind::Bill,
            vec![Entry { ledger_account: account, amount_fen: Fen(5) }, earned],
        );
        let text = toml::to_string(posting.as_ref().unwrap()).unwrap();
        assert_eq!(toml::from_str::<Posting>(&text).ok(), posting.ok());
        assert!(toml::from_str::<Posting>(&text.replace("= 5", "= 6")).is_err());
    }

    #[test]
    fn what_does_not_balance_cannot_be_built() {
        let entry = |amount| Entry { ledger_account: LedgerAccount::Revenue, amount_fen: Fen(amount) };
        let new = |entries| Posting::new(PostingKind::Bill, entries);
        assert_eq!(new(vec![]), Err(LedgerError::Empty));
        assert_eq!(new(vec![entry(1)]), Err(LedgerError::Unbalanced(Fen(1))));
        assert_eq!(new(vec![entry(0)]), Err(LedgerError::ZeroEntry));
        assert_eq!(new(vec![entry(i64::MAX), entry(i64::MAX)]), Err(LedgerError::Overflow));
        assert_eq!(new(vec![entry(i64::MIN), entry(1)]), Err(LedgerError::Overflow));
        assert_eq!(new(vec![entry(1); 65]), Err(LedgerError::TooMany(65)));
        assert!(new(vec![entry(5), entry(-5)]).is_ok());
    }
}
