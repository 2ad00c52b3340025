//! The audit of files: rules first, a scanner where one is set, a person where the rules say so. Only what passed is queued.
use std::{
    fs::File,
    io::{self, Read, Seek},
    time::Duration,
};

use inspect::{Reason, Verdict, clamd};
use protocol::{
    Code, FileId, Problem,
    file::{CHUNK_LEN, Hash, chunk_cv, root_of},
};
use tokio_util::sync::CancellationToken;

use super::{
    Files, Record, Stage, blocking, broken,
    records::{Decision, Found},
};

/// The pause after something failed, and between looks that nobody asked for.
const PAUSE: Duration = Duration::from_secs(2);
const ROUND: Duration = Duration::from_secs(30);

/// What was found by reading a file.
struct Looked {
    root: Hash,
    cvs: Vec<Hash>,
    verdict: Verdict,
    scanned: Option<Result<clamd::Scan, clamd::ClamdError>>,
}

impl Files {
    /// Audits what is whole, one after the other, until `stop`.
    pub(super) async fn audit_all(self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.audit_round().await {
                Ok(0) => ROUND,
                Ok(_) => Duration::ZERO,
                Err(problem) => {
                    tracing::warn!(%problem, "the audit goes on in a moment");
                    PAUSE
                }
            };
            tokio::select! {
                () = self.0.received.notified(), if !pause.is_zero() => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Audits all that is whole now; says how many could be decided.
    async fn audit_round(&self) -> Result<usize, Problem> {
        let (mut decided, mut wrong) = (0, None);
        for record in self.in_stage(Stage::Received).await? {
            match self.audit(&record).await {
                Ok(moved) => decided += usize::from(moved),
                // One that cannot be looked at does not hold up the others.
                Err(problem) => wrong = Some(problem),
            }
        }
        wrong.map_or(Ok(decided), Err)
    }

    async fn audit(&self, record: &Record) -> Result<bool, Problem> {
        let id = record.id;
        let rules = self.0.settings.rules_for(&record.about);
        let by = rules.who();
        let (bodies, clamd) = (self.0.bodies.clone(), self.0.settings.clamd.clone());
        let size = record.size;
        let read = blocking(move || {
            let mut file = bodies.read(id)?;
            let (root, cvs) = hashed(&mut file, size)?;
            file.rewind()?;
            let verdict = inspect::inspect(&mut file, size, &rules.inspection)?;
            let scanned = match (&verdict, clamd) {
                (Verdict::Refuse { .. }, _) | (_, None) => None,
                (_, Some(address)) => {
                    file.rewind()?;
                    Some(clamd::scan(&address, &mut file, size))
                }
            };
            Ok(Looked { root, cvs, verdict, scanned })
        })
        .await;
        let read = match read {
            Ok(read) => read,
            // Gone, or shorter than it was: it cannot come back by itself.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => {
                tracing::error!(file = %id, %error, "a file is lost");
                return self.end(id, Stage::Received, self.decision("rules", "lost", "lost")).await;
            }
            Err(error) => return Err(broken(&error)),
        };
        let (to, kind, who, what, why) = match (&read.verdict, &read.scanned) {
            (Verdict::Refuse { kind, why }, _) => {
                let kind = kind.map(|kind| kind.to_string()).unwrap_or_default();
                (Stage::Ended, kind, by.as_str(), "refused", code(*why))
            }
            (_, Some(Ok(clamd::Scan::Found(name)))) => {
                tracing::warn!(file = %id, name, "the scanner found something");
                (Stage::Ended, String::new(), "clamd", "refused", code(Reason::Malware))
            }
            // Unseen by the scanner it does not pass.
            (_, Some(Err(error))) => {
                let why = format!("clamd cannot be asked: {error}");
                return Err(Problem::new(Code::Unavailable, why));
            }
            (Verdict::NeedsPerson { kind, why }, _) => {
                (Stage::ForAPerson, kind.to_string(), by.as_str(), "to-a-person", code(*why))
            }
            (Verdict::Pass { kind }, _) => {
                (Stage::Queued, kind.to_string(), by.as_str(), "passed", String::new())
            }
        };
        let decision = self.decision(who, what, &why);
        let found = Found { kind, root: Some(read.root), cvs: read.cvs, decision };
        self.moved(id, (Stage::Received, to), found).await
    }

    /// An auditor lets a file pass.
    pub(crate) async fn approve(&self, id: FileId, who: &str) -> Result<bool, Problem> {
        let found = Found::nothing(self.decision(who, "passed", ""));
        self.moved(id, (Stage::ForAPerson, Stage::Queued), found).await
    }

    /// An auditor refuses a file, with a reason in their words.
    pub(crate) async fn refuse(&self, id: FileId, who: &str, why: &str) -> Result<bool, Problem> {
        self.end(id, Stage::ForAPerson, self.decision(who, "refused", why)).await
    }

    pub(super) async fn end(&self, id: FileId, from: Stage, decision: Decision) -> Result<bool, Problem> {
        self.moved(id, (from, Stage::Ended), Found::nothing(decision)).await
    }

    async fn moved(&self, id: FileId, (from, to): (Stage, Stage), found: Found) -> Result<bool, Problem> {
        let what = found.decision.what.clone();
        tracing::info!(file = %id, what, why = found.decision.why, by = found.decision.who, "file decided");
        let moved = self.0.records.decide(id, (from, to), found).await.map_err(|error| broken(&error))?;
        if moved {
            metrics::counter!("edge_files_total", "what" => what).increment(1);
            match to {
                Stage::Queued => self.enqueue(id).await,
                Stage::Ended => self.0.ended.notify_one(),
                _ => {}
            }
        }
        Ok(moved)
    }
}

/// A reason as it is said everywhere: as the codes of the gate are.
fn code(reason: Reason) -> String {
    reason.name().replace('_', "-")
}

/// The hash of a file of `size` bytes, and its pieces' chaining values.
fn hashed(file: &mut File, size: u64) -> io::Result<(Hash, Vec<Hash>)> {
    let mut cvs = Vec::new();
    let (mut left, mut piece) = (size, vec![0; CHUNK_LEN]);
    for index in 0.. {
        let len = left.min(CHUNK_LEN as u64) as usize;
        if len == 0 {
            break;
        }
        file.read_exact(&mut piece[..len])?;
        cvs.push(chunk_cv(size, index, &piece[..len]));
        left -= len as u64;
    }
    let root = root_of(size, &cvs).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
    Ok((root, cvs))
}
