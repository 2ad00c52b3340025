//! Green Button files: a stream from outside becomes one operation in the account's lane.
//!
//! The file is read as it arrives, with every quantity bounded, off the async threads; what is wrong with it is told with
//! the place where it is. Only when all of it has been read does an operation enter the lane, and that one is applied as
//! a whole or not at all. The operation's id follows from the account, the tariff and the readings: the same file again,
//! after whatever broke, is the same operation.
use std::io::BufReader;

use domain::{
    billing::{BillTerms, LineKind, LineNote, VersionChoice},
    calendar::Month,
    green_button::{self, GreenButtonError, Limits, Options, Select},
    money::{Fen, PriceE4, Wh},
    readings::DayReadings,
    tariff::{Tariff, TariffBook},
};
use protocol::{AccountId, BillId, Code, Problem, wire};
use serde::Serialize;
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use crate::{
    node::Node,
    operation::{Import, Own},
};

pub(crate) mod issue;

/// The largest operation that an import may come to.
const MAX_OPERATION_BYTES: usize = 24 << 20;
/// China's time, for files that give none.
const DEFAULT_OFFSET_S: i32 = 8 * 3600;
/// What is read from the network at a time.
const READ_BYTES: usize = 64 << 10;
/// Account numbers made for imports begin here; a customer's own are below.
const FIRST_SERIAL: u64 = 9_000_000_000;
const SERIALS: u64 = 1_000_000_000;

/// What is asked for along with a file.
#[derive(Clone, Debug)]
pub struct ImportAsk {
    /// The id of the tariff to bill with, named: it holds for months before its first version, too.
    pub tariff: String,
    /// Into which account; without, one is made whose number follows from the readings and the tariff.
    pub account: Option<AccountId>,
    /// Which series of a file that holds several: its number from 1, or the end of its address.
    pub usage_point: Option<String>,
}

/// What an import came to: the bills of the months that the file has readings of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportReport {
    /// Whose.
    pub account: AccountId,
    /// The bills, oldest first.
    pub bills: Vec<ImportedBill>,
    /// The energy of all bills.
    pub total_wh: Wh,
    /// The amount of all bills.
    pub total_fen: Fen,
    /// What a person should know before relying on the figures, in English.
    pub notes: Vec<String>,
}

/// A bill in an [`ImportReport`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportedBill {
    /// Its month.
    pub period: Month,
    /// Its energy.
    pub energy_wh: Wh,
    /// Its amount, the sum of its lines.
    pub amount_fen: Fen,
    /// Its lines.
    pub lines: Vec<ImportedLine>,
}

/// A line of an [`ImportedBill`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImportedLine {
    /// What is charged.
    pub kind: LineKind,
    /// The energy charged.
    pub energy_wh: Wh,
    /// The price of a kWh.
    pub price_e4: PriceE4,
    /// Their product.
    pub amount_fen: Fen,
    /// How the line's energy came about, where one must know that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<LineNote>,
}

/// Imports a Green Button file: stores its readings, issues the bills, waits until they are visible, and reports them.
///
/// # Errors
/// [`Code::InvalidRequest`] for an unknown tariff, or a file that cannot be imported, with the place in the file;
/// [`Code::TooLarge`] beyond the limit of an operation; [`Code::Conflict`] where a month is billed already with other
/// figures; and whatever writing to the lane may end with. Nothing has changed then, except where the deadline passed.
pub async fn green_button<R>(node: &Node, source: R, ask: ImportAsk) -> Result<ImportReport, Problem>
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let tariffs = &node.parts.rules.tariffs;
    let tariff = tariffs.get(&ask.tariff).ok_or_else(|| unknown_tariff(tariffs, &ask.tariff))?;
    let read = read(source, ask.usage_point).await?;
    let notes = read.notes.iter().map(ToString::to_string).collect();
    let import = prepare(tariff, ask.account, read.days.into_values().collect())?;
    let mut months: Vec<Month> = import.days.iter().map(|day| Month::of(day.date)).collect();
    months.dedup();
    let (account, key) = (import.account, idempotency_key(&import));
    node.run_own(Own::Import(import), account.bucket(), &key).await?;
    report(node, account, &months, notes).await
}

/// Reads the stream on a thread that may block, for as long as it lasts.
async fn read<R>(source: R, usage_point: Option<String>) -> Result<green_button::Import, Problem>
where
    R: AsyncRead + Unpin + Send + 'static,
{
    let select = usage_point.map(|text| text.parse().map_or(Select::Href(text), Select::Number));
    let options = Options { select, default_offset_s: Some(DEFAULT_OFFSET_S) };
    let bridge = SyncIoBridge::new(source);
    let reading = tokio::task::spawn_blocking(move || {
        green_button::read_with(BufReader::with_capacity(READ_BYTES, bridge), Limits::default(), &options)
    });
    match reading.await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) => Err(refused(&error)),
        Err(_) => Err(Problem::new(Code::Internal, "Reading the file broke off. Nothing was changed.")),
    }
}

/// The operation of a file's days; makes an account number where none is given.
fn prepare(tariff: &Tariff, account: Option<AccountId>, days: Vec<DayReadings>) -> Result<Import, Problem> {
    let account = match account {
        Some(account) => account,
        None => account_for(tariff, &days)?,
    };
    let import = Import {
        account,
        holder: "样例用户 Green Button".to_owned(),
        phone: None,
        address: format!("{} 样例路 1 号", tariff.place_zh),
        division: format!("{:0<6}", tariff.division),
        tariff: tariff.id.clone(),
        // Asked for by name, the tariff's first version bills what is older than it. When service began is not known.
        terms: BillTerms { version: VersionChoice::Named, ..BillTerms::default() },
        days,
    };
    let bytes = wire::encode(&import).len();
    if bytes > MAX_OPERATION_BYTES {
        let why = format!(
            "The readings come to {bytes} bytes; {MAX_OPERATION_BYTES} are accepted. Nothing was changed."
        );
        return Err(Problem::new(Code::TooLarge, why));
    }
    Ok(import)
}

/// The same readings under the same tariff always go to the same account.
fn account_for(tariff: &Tariff, days: &[DayReadings]) -> Result<AccountId, Problem> {
    let hash = blake3::derive_key("gridesk account of an import v1", &wire::encode(&(&tariff.id, days)));
    let number = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    let province = tariff.division.get(..2).and_then(|digits| digits.parse().ok());
    province.and_then(|province| AccountId::mint(province, FIRST_SERIAL + number % SERIALS)).ok_or_else(
        || {
            let why =
                format!("{} is a tariff of no province: name the account. Nothing was changed.", tariff.id);
            Problem::new(Code::InvalidRequest, why)
        },
    )
}

fn idempotency_key(import: &Import) -> String {
    format!("import-{}", blake3::hash(&wire::encode(import)).to_hex())
}

/// Says which tariffs there are.
pub(crate) fn unknown_tariff(tariffs: &TariffBook, asked: &str) -> Problem {
    let known: Vec<&str> = tariffs.iter().map(|tariff| tariff.id.as_str()).collect();
    let asked: String = asked.chars().take(40).collect();
    let why = format!("There is no tariff {asked}. Known are {}. Nothing was changed.", known.join(", "));
    Problem::new(Code::InvalidRequest, why)
}

fn refused(error: &GreenButtonError) -> Problem {
    Problem::new(Code::InvalidRequest, format!("{error}. Nothing was changed."))
}

/// The bills as they are stored.
async fn report(
    node: &Node,
    account: AccountId,
    months: &[Month],
    mut notes: Vec<String>,
) -> Result<ImportReport, Problem> {
    let mut bills = Vec::with_capacity(months.len());
    for month in months {
        let id = BillId { account, month: *month };
        let seen = node.store().bill(id).await.map_err(|error| {
            tracing::error!(bill = %id, %error, source = ?std::error::Error::source(&error), "cannot read an imported bill");
            let why = "The readings are imported, but the bills cannot be read for the moment. Ask again.";
            Problem::new(Code::Unavailable, why)
        })?;
        let bill =
            seen.value.ok_or_else(|| Problem::new(Code::Internal, format!("Bill {id} is not there.")))?;
        let (read, whole) = (bill.days.len(), usize::from(month.days()));
        if read < whole {
            notes.push(format!(
                "{month} has readings of {read} of its {whole} days; it is billed by what there is"
            ));
        }
        bills.push(ImportedBill {
            period: *month,
            energy_wh: bill.head.energy_wh,
            amount_fen: bill.head.amount_fen,
            lines: bill.detail.lines.into_iter().map(ImportedLine::from).collect(),
        });
    }
    Ok(ImportReport {
        account,
        total_wh: bills.iter().map(|bill| bill.energy_wh).sum(),
        total_fen: bills.iter().map(|bill| bill.amount_fen).sum(),
        bills,
        notes,
    })
}

impl From<domain::billing::BillLine> for ImportedLine {
    fn from(line: domain::billing::BillLine) -> Self {
        let domain::billing::BillLine { kind, energy_wh, price_e4, amount_fen, note } = line;
        ImportedLine { kind, energy_wh, price_e4, amount_fen, note }
    }
}

#[cfg(test)]
mod tests;
