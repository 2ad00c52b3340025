//! Taking bytes in: a file is named to the center first, then comes in as many portions as it takes.
use std::io::{self, Write};

use axum::body::Bytes;
use futures_util::{Stream, StreamExt};
use protocol::{
    Channel, Code, CustomerId, FileId, Problem, ServiceRequestId, Token,
    bounds::{BoundsError, FileSize, Text},
    catalogue::{
        replies,
        requests::{self, FileEnding},
    },
};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use super::{
    About, Files, Record, RulesFor, Stage, blocking, broken,
    records::{Decision, Found, Full, Quotas},
};
use crate::{inward::Call, tus::Checksum};

/// How long a portion may be silent.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
/// So much is gathered before it is written.
const GATHER: usize = 256 * 1024;
/// How the trail of decisions begins the name of a person who decides.
pub(crate) const AUDITOR: &str = "auditor:";
/// Why a file ends that its request has no place for.
const TOO_MANY: &str = "too-many-files";
/// How long a part waits to be joined with others, in ms.
const PART_WITHIN_MS: u64 = 24 * 3600 * 1000;

/// A file that is to come.
pub(crate) struct NewFile {
    /// With which request; `None`: it is a part of another.
    pub(crate) request: Option<ServiceRequestId>,
    /// The customer's name for it.
    pub(crate) name: Text<255>,
    /// Its length in bytes.
    pub(crate) size: u64,
}

/// A file that has its place here.
pub(crate) struct Begun {
    /// It.
    pub(crate) record: Record,
    /// How far its customer has seen: what they are shown next must know of it.
    pub(crate) token: Token,
}

enum Summing {
    Sha1(Sha1, [u8; 20]),
    Sha256(Sha256, [u8; 32]),
}

impl Summing {
    fn new(checksum: Checksum) -> Self {
        match checksum {
            Checksum::Sha1(due) => Summing::Sha1(Sha1::new(), due),
            Checksum::Sha256(due) => Summing::Sha256(Sha256::new(), due),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Summing::Sha1(sum, _) => sum.update(bytes),
            Summing::Sha256(sum, _) => sum.update(bytes),
        }
    }

    fn ends_right(self) -> bool {
        match self {
            Summing::Sha1(sum, due) => sum.finalize().as_slice() == due,
            Summing::Sha256(sum, due) => sum.finalize().as_slice() == due,
        }
    }
}

impl Files {
    /// Whom an access token names; needed, because what comes is written here before the center hears of it.
    pub(crate) fn customer_of(&self, call: &Call) -> Result<CustomerId, Problem> {
        if let Some(refused) = &call.session_refused {
            return Err(refused.clone());
        }
        let token =
            call.session.as_ref().ok_or_else(|| Problem::new(Code::Unauthenticated, "Log in first."))?;
        let away =
            || Problem::new(Code::GateUnavailable, "Nothing is known yet of who may log in.").retry_after(1);
        Ok(self.0.inward.check_session(token)?.ok_or_else(away)?.customer)
    }

    /// Begins a file: the center gives its id, under which it is empty here.
    pub(crate) async fn begin(&self, call: &Call, new: NewFile) -> Result<Begun, Problem> {
        let customer = self.customer_of(call)?;
        self.0.settings.rules_for(&About::default()).check_size(new.size)?;
        let mut form = match new.request {
            Some(request) => self.form_if_visible(call, request).await?,
            None => None,
        };
        if let Some(form) = &form {
            self.rules_of(form).check_size(new.size)?;
        }
        let size = FileSize::try_from(new.size)
            .map_err(|_| Problem::new(Code::InvalidRequest, "A file has at least one byte."))?;
        inspect::check_name(&new.name).map_err(|error| {
            Problem::new(Code::InvalidRequest, format!("The file's name cannot be taken: {error}."))
        })?;
        let bodies = self.0.bodies.clone();
        if !blocking(move || bodies.has_room(size.get())).await.map_err(|error| broken(&error))? {
            return Err(full(Full::Disk));
        }
        let now_ms = self.now_ms();
        let (id, expires_ms, token) = match new.request {
            Some(request) => {
                let asked = requests::FileCreate { request, name: new.name.clone(), size };
                let call = call.clone().with_wait_ms(call.wait_ms.max(5_000));
                let answer = self.0.inward.ask(&call, asked).await?;
                let token = answer.token.clone();
                let made = answer.done()?;
                (made.file, made.expires_ms, token)
            }
            None => {
                let mut entropy = [0; 16];
                getrandom::fill(&mut entropy).map_err(|error| broken(&error))?;
                let id = FileId::mint(customer.bucket(), u128::from_be_bytes(entropy));
                (id, now_ms + PART_WITHIN_MS, Token::default())
            }
        };
        // It may not have been visible yet: then the file was named before its rules were known.
        if let (None, Some(request)) = (&form, new.request) {
            form = Some(self.form_of(&call.clone().with_token(token.clone()), request).await?);
        }
        let rules = form.as_ref().map(|form| self.rules_of(form));
        let record = Record {
            id,
            customer,
            request: new.request,
            about: form.as_ref().map(About::of).unwrap_or_default(),
            channel: call.channel.as_str().to_owned(),
            name: new.name.to_string(),
            size: new.size,
            received: 0,
            stage: Stage::Receiving,
            kind: String::new(),
            why: String::new(),
            root: None,
            created_ms: now_ms,
            changed_ms: now_ms,
            expires_ms,
        };
        if let (Some(form), Some(rules)) = (&form, &rules)
            && self.get(id).await?.is_none()
        {
            let others = form.files.iter().filter(|file| **file != id).count();
            let refused = match rules.check_size(new.size) {
                Err(problem) => Some(("too-large", problem)),
                Ok(()) if others >= rules.files_max as usize => Some((TOO_MANY, rules.too_many())),
                Ok(()) => None,
            };
            if let Some((why, problem)) = refused {
                self.not_begun(record, why).await;
                return Err(problem);
            }
        }
        let bodies = self.0.bodies.clone();
        blocking(move || bodies.create(id)).await.map_err(|error| broken(&error))?;
        match self
            .0
            .records
            .create(record.clone(), self.quotas(rules.as_ref()))
            .await
            .map_err(|error| broken(&error))?
        {
            // Asked for again under the same key: what has come already is there.
            Ok(()) => {
                let record = self.get(id).await?.ok_or_else(|| Problem::not_found("file"))?;
                if record.stage == Stage::Ended && record.received == 0 {
                    return Err(Problem::new(Code::UploadGone, "This file is not to come any more."));
                }
                Ok(Begun { record, token })
            }
            Err(which) => {
                let bodies = self.0.bodies.clone();
                blocking(move || bodies.remove(id)).await.ok();
                let why = if which == Full::Request { TOO_MANY } else { "no-room" };
                if new.request.is_some() {
                    self.not_begun(record, why).await;
                }
                Err(match (which, rules) {
                    (Full::Request, Some(rules)) => rules.too_many(),
                    (which, _) => full(which),
                })
            }
        }
    }

    /// A file that the center has given an id is not taken: it is told so, now or later.
    async fn not_begun(&self, record: Record, why: &'static str) {
        let id = record.id;
        match self.0.records.not_begun(record, why).await {
            Ok(()) => self.0.ended.notify_one(),
            // The center gives it up by itself, once its time is over.
            Err(error) => tracing::error!(file = %id, %error, "it is not noted that a file is not taken"),
        }
    }

    /// What a request is, as the center has it.
    ///
    /// # Errors
    /// `not_found` where it is not the customer's, or not visible yet.
    pub(crate) async fn form_of(
        &self,
        call: &Call,
        request: ServiceRequestId,
    ) -> Result<replies::RequestForm, Problem> {
        self.0.inward.ask(call, requests::RequestForm { request }).await?.done()
    }

    /// As [`form_of`](Self::form_of). `None`: a request that has been accepted may not be visible yet, while a file for it can
    /// be named already, since that goes through its lane.
    async fn form_if_visible(
        &self,
        call: &Call,
        request: ServiceRequestId,
    ) -> Result<Option<replies::RequestForm>, Problem> {
        match self.form_of(call, request).await {
            Ok(form) => Ok(Some(form)),
            Err(problem) if matches!(problem.code, Code::NotFound | Code::NotYetVisible) => Ok(None),
            Err(problem) => Err(problem),
        }
    }

    /// The rules for the files of such a request.
    pub(crate) fn rules_of(&self, form: &replies::RequestForm) -> RulesFor {
        self.0.settings.rules_for(&About::of(form))
    }

    fn quotas(&self, rules: Option<&RulesFor>) -> Quotas {
        let settings = &self.0.settings;
        Quotas {
            request_files: rules.map_or(u32::MAX, |rules| rules.files_max),
            customer_files: settings.customer_files,
            customer_bytes: settings.customer_bytes,
            channel_bytes: settings.channel_bytes,
            bytes: settings.bytes,
        }
    }

    /// A customer's own file.
    pub(crate) async fn own(&self, id: FileId, customer: CustomerId) -> Result<Record, Problem> {
        let found = self.get(id).await?.filter(|record| record.customer == customer);
        found.ok_or_else(|| Problem::not_found("file"))
    }

    /// Writes a portion at `offset`; gives how much there is now. What came before the portion broke off is kept, unless its
    /// checksum was to be checked.
    pub(crate) async fn write<E>(
        &self,
        record: &Record,
        offset: u64,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        checksum: Option<Checksum>,
    ) -> Result<u64, Problem> {
        let id = record.id;
        let gone = || Problem::new(Code::UploadGone, "This file is not to come any more.");
        // Whoever holds it just now: its bytes are being removed, say.
        if record.stage == Stage::Ended {
            return Err(gone());
        }
        let _held = self.hold(id).await.ok_or_else(|| {
            Problem::new(Code::UploadLocked, "Somebody is writing to this file. Nothing was done.")
        })?;
        let record = self.own(id, record.customer).await?;
        if record.stage == Stage::Ended {
            return Err(gone());
        }
        if record.received != offset || record.stage != Stage::Receiving {
            let why = format!("{} of {} bytes are here. Go on from there.", record.received, record.size);
            return Err(Problem::new(Code::UploadOffset, why));
        }
        let (portion, ended) = self.take(&record, body, checksum).await;
        // Only what is on the disk is said to be here.
        if portion > offset {
            self.0.records.advance(id, portion, self.now_ms()).await.map_err(|error| broken(&error))?;
            metrics::counter!("edge_file_bytes_total").increment(portion - offset);
            if portion == record.size && record.request.is_some() {
                self.0.received.notify_one();
            }
        }
        ended.map(|()| portion)
    }

    /// Writes what comes and flushes it; gives how far the file is good, and how it ended.
    async fn take<E>(
        &self,
        record: &Record,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        checksum: Option<Checksum>,
    ) -> (u64, Result<(), Problem>) {
        let (id, offset) = (record.id, record.received);
        let bodies = self.0.bodies.clone();
        let file = match blocking(move || bodies.append(id, offset)).await {
            Ok(file) => file,
            Err(error) => return (offset, Err(disk(&error))),
        };
        let is_checked = checksum.is_some();
        let mut summing = checksum.map(Summing::new);
        let mut target = Target { file: Some(file), gathered: Vec::with_capacity(GATHER) };
        let mut good = offset;
        let mut ended = loop {
            match tokio::time::timeout(PATIENCE, body.next()).await {
                Err(_) => break Err(Problem::new(Code::InvalidRequest, "Nothing came for too long.")),
                Ok(None) => break Ok(()),
                Ok(Some(Err(_))) => break Err(Problem::new(Code::InvalidRequest, "The body broke off.")),
                Ok(Some(Ok(bytes))) => {
                    if bytes.len() as u64 > record.size - good {
                        break Err(Problem::new(Code::TooLarge, "More came than the file was said to have."));
                    }
                    if let Some(summing) = &mut summing {
                        summing.update(&bytes);
                    }
                    good += bytes.len() as u64;
                    if let Err(error) = target.write(bytes).await {
                        return (offset, Err(disk(&error)));
                    }
                }
            }
        };
        if let Err(error) = target.flush().await {
            return (offset, Err(disk(&error)));
        }
        if let (Ok(()), Some(summing)) = (&ended, summing)
            && !summing.ends_right()
        {
            ended = Err(Problem::new(Code::ChecksumMismatch, "The checksum does not fit. Send it again."));
        }
        let kept = if is_checked && ended.is_err() { offset } else { good };
        (kept, ended)
    }

    /// A part whose length was not known before it came: this is all of it.
    pub(crate) async fn settle(&self, id: FileId, size: u64) -> Result<(), Problem> {
        self.0.records.settle(id, size).await.map_err(|error| broken(&error))
    }

    /// Makes one file of parts that are all here.
    pub(crate) async fn join(&self, call: &Call, new: NewFile, parts: &[FileId]) -> Result<Begun, Problem> {
        let customer = self.customer_of(call)?;
        let mut size = 0;
        for part in parts {
            let part = self.own(*part, customer).await?;
            if part.request.is_some() || part.received != part.size || part.stage != Stage::Receiving {
                return Err(Problem::new(Code::UploadOffset, "A part is not whole, or is none."));
            }
            size += part.size;
        }
        let begun = self.begin(call, NewFile { size, ..new }).await?;
        let record = &begun.record;
        if record.stage != Stage::Receiving {
            return Ok(begun);
        }
        let Some(_held) = self.hold(record.id).await else {
            return Err(Problem::new(Code::UploadLocked, "These parts are just being joined."));
        };
        let (bodies, id, from) = (self.0.bodies.clone(), record.id, parts.to_vec());
        let len = blocking(move || bodies.join(id, &from)).await.map_err(|error| disk(&error))?;
        self.0.records.advance(id, len, self.now_ms()).await.map_err(|error| broken(&error))?;
        self.0.received.notify_one();
        for part in parts {
            let joined = self.decision("customer", "joined", "");
            let moved = (Stage::Receiving, Stage::Ended);
            self.0
                .records
                .decide(*part, moved, Found::nothing(joined))
                .await
                .map_err(|error| broken(&error))?;
        }
        self.0.ended.notify_one();
        Ok(Begun { record: self.own(id, customer).await?, token: begun.token })
    }

    /// The customer does not want it to come any more.
    pub(crate) async fn withdraw(&self, record: &Record) -> Result<(), Problem> {
        let decision = self.decision("customer", "withdrawn", "withdrawn");
        for from in [Stage::Receiving, Stage::Received, Stage::ForAPerson, Stage::Queued] {
            let found = Found::nothing(decision.clone());
            let moved = self.0.records.decide(record.id, (from, Stage::Ended), found).await;
            if moved.map_err(|error| broken(&error))? {
                self.0.ended.notify_one();
                return Ok(());
            }
        }
        match self.own(record.id, record.customer).await?.stage {
            Stage::Stored => Err(Problem::new(Code::Conflict, "The file has come already.")),
            _ => Ok(()),
        }
    }

    pub(super) fn decision(&self, who: &str, what: &str, why: &str) -> Decision {
        Decision { at_ms: self.now_ms(), who: who.into(), what: what.into(), why: why.into() }
    }

    /// Tells the center how the audit of a file ended that does not come, from the last decision about it: the request's timeline
    /// says so. Its key is the file's: said again after a death, it is the same.
    pub(super) async fn tell_result(&self, record: &Record) -> Result<(), Problem> {
        let Some(Decision { who, what, .. }) = self.decisions(record.id).await?.pop() else {
            return self.tell_end(record.id, &record.why).await;
        };
        let how = match what.as_str() {
            "withdrawn" => FileEnding::Withdrawn,
            "expired" => FileEnding::Expired,
            "lost" => FileEnding::Lost,
            _ if who.starts_with(AUDITOR) => FileEnding::RefusedByPerson,
            _ => FileEnding::Refused,
        };
        let internal = |error: BoundsError| Problem::new(Code::Internal, error.to_string());
        let by_person = how == FileEnding::RefusedByPerson;
        let (why, words) =
            if by_person { ("refused", record.why.as_str()) } else { (record.why.as_str(), "") };
        let result = requests::FileResult {
            file: record.id,
            how,
            why: why.parse().or_else(|_| "refused".parse()).map_err(internal)?,
            words: Text::new(words).map_err(internal)?,
            rule: Text::new(who.strip_prefix("rules:").unwrap_or_default()).map_err(internal)?,
        };
        let mut call = Call::new(Channel::System);
        call.idempotency_key = format!("{}-result", record.id).parse().ok();
        self.0.inward.ask(&call, result).await.map(drop)
    }

    /// Tells the center that a file will not come that was only named, and why: a code. Its customer was told at once.
    async fn tell_end(&self, file: FileId, why: &str) -> Result<(), Problem> {
        let why = why.parse().or_else(|_| "refused".parse());
        let why = why.map_err(|error: BoundsError| Problem::new(Code::Internal, error.to_string()))?;
        let mut call = Call::new(Channel::System);
        call.idempotency_key = format!("{file}-end").parse().ok();
        self.0.inward.ask(&call, requests::FileEnd { file, why }).await.map(drop)
    }
}

/// Gathers what comes in small pieces, and writes it where writing may block.
struct Target {
    file: Option<std::fs::File>,
    gathered: Vec<u8>,
}

impl Target {
    async fn write(&mut self, bytes: Bytes) -> io::Result<()> {
        self.gathered.extend_from_slice(&bytes);
        if self.gathered.len() >= GATHER { self.pass_on(false).await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.pass_on(true).await
    }

    async fn pass_on(&mut self, is_last: bool) -> io::Result<()> {
        let gone = || io::Error::other("the file is closed");
        let mut file = self.file.take().ok_or_else(gone)?;
        let mut bytes = std::mem::take(&mut self.gathered);
        let (file, bytes) = blocking(move || {
            file.write_all(&bytes)?;
            if is_last {
                file.sync_data()?;
            }
            bytes.clear();
            Ok((file, bytes))
        })
        .await?;
        (self.file, self.gathered) = (Some(file), bytes);
        Ok(())
    }
}

fn full(which: Full) -> Problem {
    match which {
        Full::Customer => Problem::new(
            Code::QuotaExceeded,
            "You have as many files under way as one may have. Wait until some are through, or withdraw one.",
        ),
        Full::Request | Full::Channel | Full::Disk => {
            Problem::new(Code::StorageFull, "There is no room for more files now. Try again later.")
                .retry_after(60)
        }
    }
}

fn disk(error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(Full::Disk),
        _ => broken(error),
    }
}
