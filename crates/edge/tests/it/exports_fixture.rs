//! The invented inside's files for customers.
use jiff::civil::date;
use protocol::{
    AccountId, Bucket, Code, ExportId, Problem, Reply, Request,
    catalogue::{
        replies::{self, Export, ExportFailure, ExportState},
        requests::ExportWhat,
    },
    file::Ticket,
};

const NOW_MS: u64 = 1_787_019_840_000;
const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;

/// What customers have asked for, newest first.
pub(crate) struct Outbound {
    exports: Vec<Export>,
}

impl Outbound {
    /// The first account has one of everything.
    pub(crate) fn of(account: AccountId) -> Self {
        let (from, to) = (date(2026, 7, 1), date(2026, 7, 31));
        let invoice = ExportWhat::Invoice { bill: format!("{account}-2026-06").parse().unwrap() };
        let mut all = Outbound { exports: Vec::new() };
        all.add(account, ExportWhat::UsageCsv { from, to }, ExportState::Expired, None);
        let failed = Some(ExportFailure::NoReadings);
        all.add(account, ExportWhat::GreenButton { from, to }, ExportState::Failed, failed);
        all.add(account, invoice, ExportState::Ready, None);
        all
    }

    fn add(
        &mut self,
        account: AccountId,
        what: ExportWhat,
        state: ExportState,
        failure: Option<ExportFailure>,
    ) -> Export {
        let is_ready = state == ExportState::Ready;
        let export = Export {
            export: ExportId::mint(Bucket::of(b"e"), (self.exports.len() as u128 + 1) << 64),
            account,
            what,
            state,
            failure,
            created_ms: NOW_MS,
            name: what.name(account),
            size: is_ready.then_some(24_617),
            until_ms: is_ready.then_some(NOW_MS + WEEK_MS),
        };
        self.exports.insert(0, export.clone());
        export
    }

    /// The newest file's state from now on.
    pub(crate) fn newest_is(&mut self, state: ExportState) {
        self.exports[0].state = state;
    }

    pub(crate) fn serve(&mut self, request: &Request) -> Result<Option<Reply>, Problem> {
        Ok(Some(match request {
            Request::ExportList(r) => {
                let own = self.exports.iter().filter(|export| export.account == r.account).cloned();
                Reply::ExportList(replies::ExportList { exports: own.collect() })
            }
            Request::ExportCreate(r) => {
                if let ExportWhat::UsageCsv { from, to } | ExportWhat::GreenButton { from, to } = r.what
                    && from > to
                {
                    return Err(Problem::new(
                        Code::InvalidRequest,
                        "The days go from the first to the last.",
                    ));
                }
                let export = self.add(r.account, r.what, ExportState::Making, None);
                Reply::ExportCreate(replies::ExportCreate { export })
            }
            Request::ExportGet(r) => {
                let found = self.exports.iter().find(|export| export.export == r.export);
                let export = found.ok_or_else(|| Problem::not_found("file"))?.clone();
                let key = (1, &ed25519_dalek::SigningKey::from_bytes(&[7; 32]));
                let ticket = (export.state == ExportState::Ready)
                    .then(|| Ticket::sign(key, (r.export.file(), 24_617, [3; 32]), NOW_MS + 600_000));
                Reply::ExportGet(replies::ExportGet { export, ticket })
            }
            _ => return Ok(None),
        }))
    }
}
