//! What pages show, read in one snapshot.
use domain::readings::DayReadings;
use jiff::civil::Date;
use protocol::{CustomerId, catalogue::replies::Notice};
use serde::{Deserialize, Serialize};

use crate::rows::{Account, BillDetail, BillHead, Customer, Payee, Person, Session, Supply};

/// An account with what its pages show.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// Who has bound it.
    pub holders: Vec<CustomerId>,
    /// Bills to be paid, oldest first.
    pub open_bills: Vec<BillHead>,
    /// How its supply stands; `None` where it was never cut off.
    pub supply: Option<Supply>,
    /// The newest bills, newest first; at most 24.
    pub bills: Vec<BillHead>,
    /// The days asked for.
    pub days: Vec<DayReadings>,
    /// The first and last day with readings.
    pub first_and_last: Option<(Date, Date)>,
}

/// A bill with what its page shows.
#[derive(Clone, Debug, PartialEq)]
pub struct BillView {
    /// Its head.
    pub head: BillHead,
    /// Its lines.
    pub detail: BillDetail,
    /// Its account.
    pub account: Account,
    /// Who has bound the account.
    pub holders: Vec<CustomerId>,
    /// This and the bills before, newest first; at most 13.
    pub history: Vec<BillHead>,
    /// The bill before, whole.
    pub previous: Option<(BillHead, BillDetail)>,
    /// The bill of the same month of the year before, whole.
    pub last_year: Option<(BillHead, BillDetail)>,
    /// The month's readings.
    pub days: Vec<DayReadings>,
}

/// A page of what a customer was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoticePage {
    /// Newest first.
    pub notices: Vec<Notice>,
    /// How many are unread in all, counted up to 100.
    pub unread: u32,
}

/// Everything that is held about a customer.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonView {
    /// What they said, where anything is held.
    pub person: Option<Person>,
    /// Their accounts.
    pub customer: Customer,
    /// Their sessions that have not been ended.
    pub sessions: Vec<Session>,
    /// About whose accounts they asked.
    pub payees: Vec<Payee>,
}
