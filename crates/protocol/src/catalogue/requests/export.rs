//! Files that are made for customers.
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{AccountId, BillId, ExportId};

requests! {
    /// Asks for a file to be made.
    ExportCreate {
        /// About which account.
        account: AccountId,
        /// What is to be in it.
        what: ExportWhat,
    }
    /// How a file that is made stands, and a ticket to fetch it.
    ExportGet {
        /// Which.
        export: ExportId,
    }
    /// The files that were made for an account, newest first.
    ExportList {
        /// Whose.
        account: AccountId,
    }
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ExportWhat {
    /// Use as a table, hour by hour.
    UsageCsv {
        /// The first day.
        from: Date,
        /// The last day; at most 37 months from the first.
        to: Date,
    },
    /// Use as a Green Button file (NAESB ESPI).
    GreenButton {
        /// The first day.
        from: Date,
        /// The last day; at most 37 months from the first.
        to: Date,
    },
    /// A paid bill's electronic invoice, as a PDF.
    Invoice {
        /// Which bill.
        bill: BillId,
    },
}
