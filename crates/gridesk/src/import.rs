//! `gridesk import green-button`: hands a file of real readings to the center, which stores them and issues the bills.
//!
//! Only a center opens business data. So the file goes to the one that runs on the data folder, through its admin
//! socket; where none runs, one is started for the import and stopped afterwards.
use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use domain::{
    billing::{LineKind, LineNote},
    calendar::Month,
    money::{Fen, PriceE4, Wh},
    tariff::TariffId,
};
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use protocol::AccountId;
use runtime::supervise::{Backoff, ChildSpec, ChildState, Supervisor};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;

use crate::{
    role::Role,
    unix_http::{self, UnixHttpError},
    up::{
        UpError,
        folder::{DataFolder, FolderError, Profile, admin_socket},
        logs::{Echo, Logs},
        plan::{self, Part, Places, Plan, Ports},
    },
};

/// What is to be imported.
#[derive(Clone, Debug)]
pub struct Options {
    /// The Green Button file (ESPI, XML).
    pub file: PathBuf,
    /// Into which account; without, the center makes one.
    pub account: Option<AccountId>,
    /// What the bills are made with.
    pub tariff: TariffId,
    /// The data folder.
    pub data: PathBuf,
}

/// What was imported. `--json` prints it as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Imported {
    /// The account that has the readings now.
    pub account: AccountId,
    /// Its bills, oldest first.
    pub bills: Vec<ImportedBill>,
    /// The energy of all bills.
    pub total_wh: Wh,
    /// The amount of all bills.
    pub total_fen: Fen,
    /// What one should know about the readings: estimates, gaps, months that are not whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A bill that was issued for imported readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedBill {
    /// Its month.
    pub period: Month,
    /// Its energy.
    pub energy_wh: Wh,
    /// Its amount, the sum of its lines.
    pub amount_fen: Fen,
    /// What the amount is made of.
    pub lines: Vec<ImportedLine>,
}

/// A line of such a bill: energy × price, rounded half up to the fen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImportedLine {
    /// What is charged.
    pub kind: LineKind,
    /// The energy charged.
    pub energy_wh: Wh,
    /// The price, in 1e-4 yuan per kWh.
    pub price_e4: PriceE4,
    /// Their product.
    pub amount_fen: Fen,
    /// What one must know to recompute the energy of the line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<LineNote>,
}

/// Why nothing was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The data folder is not there, or cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The private center does not start.
    #[error(transparent)]
    Center(#[from] UpError),
    /// The center cannot be asked.
    #[error(transparent)]
    Asking(#[from] UnixHttpError),
    /// The center refused the file; nothing was changed.
    #[error("{code}: {detail}")]
    Refused {
        /// The problem's code.
        code: String,
        /// What is wrong.
        detail: String,
    },
    /// The center answered what nobody understands.
    #[error("the center answered {status} with something that is no result: {text}")]
    Answer {
        /// The HTTP status.
        status: u16,
        /// The beginning of the answer.
        text: String,
    },
}

/// Imports a file.
///
/// # Errors
/// [`ImportError`].
pub async fn run(options: &Options) -> Result<Imported, ImportError> {
    let file = File::open(&options.file).await?;
    let root = std::path::absolute(&options.data)
        .map_err(|source| FolderError::Io { path: options.data.clone(), source })?;
    let admin = admin_socket(&root);
    if tokio::net::UnixStream::connect(&admin).await.is_ok() {
        return send(&admin, options, file).await;
    }
    let center = PrivateCenter::start(&root).await?;
    let imported = send(&admin, options, file).await;
    center.stop().await;
    imported
}

/// A center that runs only for this import.
struct PrivateCenter {
    supervisor: Supervisor,
    // Dropped after the supervisor: the lock outlives the child.
    _folder: DataFolder,
}

impl PrivateCenter {
    async fn start(root: &Path) -> Result<Self, ImportError> {
        let folder = DataFolder::open(root, false, "gridesk import")?;
        folder.keep_profile(Profile::Embedded)?;
        folder.check_free("center")?;
        let io = |what| move |source| UpError::Io { what, source };
        let places = Places::of(folder.root());
        places.make_secrets(&[Part::CENTER]).map_err(UpError::Secret)?;
        // Addresses are written into payment orders only, and nobody can order one meanwhile.
        let ports = Ports { edge: 8080, sim: 8080 + plan::SIM_PORT_OFFSET };
        let plan = Plan { ports, demo_customers: 0, engines: None, nodes: 1 };
        places.write(&[Part::CENTER], &plan).map_err(io("cannot write settings"))?;
        let program = std::env::current_exe().map_err(io("cannot find this program's file"))?;
        let logs = Logs::new(folder.join("logs"), Echo::Warnings);
        let mut supervisor = Supervisor::with(Backoff::default(), logs.sink());
        let inside = places.inside(Part::CENTER);
        let name = Role::Center.name();
        let spec = ChildSpec::new(name, program)
            .args(["role", name, "--config"])
            .args([places.config(Part::CENTER)])
            .ready_when(move || {
                let inside = inside.clone();
                async move {
                    let answer = unix_http::get(&inside, "/readyz", Duration::from_secs(2)).await;
                    answer.is_ok_and(|answer| answer.status == 200)
                }
            });
        supervisor.start(spec);
        match supervisor.wait_ready(name, Duration::from_secs(120)).await {
            Ok(()) => Ok(PrivateCenter { supervisor, _folder: folder }),
            Err(error) => {
                supervisor.stop().await;
                let (role, last_lines) = (name.to_owned(), logs.last_lines(name));
                Err(match error.state {
                    Some(ChildState::Failed) => UpError::BadConfig { role, last_lines },
                    _ => UpError::RoleFailed { role, reason: error.to_string(), last_lines },
                }
                .into())
            }
        }
    }

    async fn stop(self) {
        self.supervisor.stop().await;
    }
}

async fn send(admin: &Path, options: &Options, file: File) -> Result<Imported, ImportError> {
    let mut path = format!("/admin/import/green-button?tariff={}", options.tariff);
    if let Some(account) = options.account {
        write!(path, "&account={account}").ok();
    }
    let answer = unix_http::post(admin, &path, "application/atom+xml", file.into_body()).await?;
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body).map_err(|_| not_understood(&answer));
    }
    #[derive(Deserialize)]
    struct Problem {
        code: String,
        #[serde(default)]
        detail: String,
    }
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(Problem { code, detail }) => Err(ImportError::Refused { code, detail }),
        Err(_) => Err(not_understood(&answer)),
    }
}

fn not_understood(answer: &unix_http::Answer) -> ImportError {
    let text = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
    ImportError::Answer { status: answer.status, text }
}

/// The file on its way, with a line of progress for big ones.
struct File {
    file: tokio::fs::File,
    len: u64,
    sent: u64,
    shown: Instant,
    show: bool,
}

impl File {
    async fn open(path: &Path) -> Result<Self, ImportError> {
        let failed = |source| ImportError::File { path: path.into(), source };
        let file = tokio::fs::File::open(path).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let show = std::io::stderr().is_terminal() && metadata.len() > 4 * 1024 * 1024;
        Ok(File { file, len: metadata.len(), sent: 0, shown: Instant::now(), show })
    }

    fn into_body(self) -> impl hyper::body::Body<Data = Bytes, Error = io::Error> + Send + 'static {
        StreamBody::new(stream::try_unfold(self, |mut file| async move {
            let mut chunk = bytes::BytesMut::with_capacity(64 * 1024);
            if file.file.read_buf(&mut chunk).await? == 0 {
                file.progress(true);
                return Ok(None);
            }
            file.sent += chunk.len() as u64;
            file.progress(false);
            Ok(Some((Frame::data(chunk.freeze()), file)))
        }))
    }

    fn progress(&mut self, done: bool) {
        if !self.show || (!done && self.shown.elapsed() < Duration::from_millis(200)) {
            return;
        }
        self.shown = Instant::now();
        let mut err = std::io::stderr().lock();
        if done {
            write!(err, "\r\x1b[2K").ok();
        } else {
            let percent = self.sent.saturating_mul(100) / self.len.max(1);
            write!(err, "\r\x1b[2KReading {percent} % of {} MiB", self.len >> 20).ok();
        }
    }
}

/// The bills as a table for people.
pub fn table(imported: &Imported) -> String {
    let mut text = format!("Account {}\n\n  month            kWh          yuan   lines\n", imported.account);
    for bill in &imported.bills {
        let lines: Vec<_> = bill
            .lines
            .iter()
            .map(|line| {
                format!("{} {} kWh × {} = {}", line.kind, line.energy_wh, price(line), line.amount_fen)
            })
            .collect();
        let [period, energy, amount] =
            [bill.period.to_string(), bill.energy_wh.to_string(), bill.amount_fen.to_string()];
        writeln!(text, "  {period:<8} {energy:>12}  {amount:>12}   {}", lines.join("; ")).ok();
    }
    let [energy, amount] = [imported.total_wh.to_string(), imported.total_fen.to_string()];
    let count = imported.bills.len();
    let bills = if count == 1 { "bill" } else { "bills" };
    writeln!(text, "  {:<8} {energy:>12}  {amount:>12}   {count} {bills}", "total").ok();
    for note in &imported.notes {
        writeln!(text, "\n  Note: {note}").ok();
    }
    if let Some(latest) = imported.bills.last() {
        let (account, month, amount) = (imported.account, latest.period, latest.amount_fen);
        writeln!(
            text,
            "\nTo see it in the portal: Me, Add an account, {account}, latest bill {month}, {amount} yuan."
        )
        .ok();
    }
    text
}

/// Yuan per kWh with four decimals.
fn price(line: &ImportedLine) -> String {
    let e4 = line.price_e4.0;
    format!("{}{}.{:04}", if e4 < 0 { "-" } else { "" }, e4.abs() / 10_000, e4.abs() % 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_read_and_shown_line_by_line() {
        let account = AccountId::mint(33, 1).unwrap();
        let json = format!(
            r#"{{"account":"{account}","bills":[{{"period":"2011-01","energy_wh":428756,"amount_fen":23067,"lines":[{{"kind":"tier-1","energy_wh":428756,"price_e4":5380,"amount_fen":23067}}]}}],"total_wh":428756,"total_fen":23067}}"#
        );
        let imported: Imported = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&imported).unwrap(), json);
        let text = table(&imported);
        assert!(text.contains("2011-01"), "{text}");
        assert!(text.contains("tier-1 428.756 kWh × 0.5380 = 230.67"), "{text}");
        assert!(text.contains("1 bill\n") && text.contains("latest bill 2011-01, 230.67 yuan"), "{text}");
        let noted = Imported { notes: vec!["2 readings are estimated".into()], ..imported };
        assert!(table(&noted).contains("Note: 2 readings are estimated"));
    }
}
