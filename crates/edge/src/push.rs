//! What comes outward by itself: taken from the gates, delivered by the channel's adapter, reported inside.
use std::time::Duration;

use futures_util::StreamExt;
use protocol::{
    Channel, Problem, PushId,
    bounds::Text,
    catalogue::requests,
    envelope::Language,
    push::{CodePurpose, MAX_PUSH_LEN, Push, PushAck, PushBody},
    wire,
};
use runtime::{clock::Clock, mux::Service, shutdown::Shutdown};

use crate::{
    carrier::{Carriers, Message, Try},
    inbox::{Ended, Inbox, InboxError, Stored, Waiting},
    inward::{Call, Inward},
};

/// The pauses between tries: ten tries in ten minutes.
const PAUSES_S: [u64; 9] = [1, 3, 8, 20, 40, 80, 120, 150, 180];
/// What a payment provider is to do is of use longer than a code is: it is tried for a day, in the end at this pause, in s.
const INSTRUCTION_PAUSE_S: u64 = 600;
const INSTRUCTION_FOR_MS: u64 = 24 * 3600 * 1000;
/// The longest pause before a report is tried again, in s. Reports are tried until they are known inside.
const REPORT_PAUSE_MAX_S: u64 = 60;
/// Deliveries and reports under way at once.
const AT_ONCE: usize = 16;
/// How often what ended long ago is forgotten, and a clock that was set is noticed.
const ROUND: Duration = Duration::from_secs(60);

/// Takes what the gates push.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) inbox: Inbox,
    pub(crate) inward: Inward,
    pub(crate) clock: Clock,
}

impl Service for Receiver {
    /// Nobody asks the edge anything.
    async fn request(&self, _: Vec<u8>) -> Option<Vec<u8>> {
        None
    }

    async fn push(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        if payload.len() > MAX_PUSH_LEN {
            return None;
        }
        let push: Push =
            wire::decode_exact(&payload).inspect_err(|error| tracing::error!(%error, "push refused")).ok()?;
        let ack = wire::encode(&PushAck { id: push.id });
        if let PushBody::Settings(settings) = &push.body {
            self.inward.take_settings(settings);
            return Some(ack);
        }
        if let PushBody::StaffRevoked(revoked) = &push.body {
            self.inward.take_revocations(revoked);
            return Some(ack);
        }
        let id = push.id;
        match self.inbox.store(push, self.clock.unix_ms()).await {
            Ok(Stored::New | Stored::Known) => Some(ack),
            Ok(Stored::Full) => {
                tracing::error!(push = %id, "the inbox is full; a push was not taken");
                None
            }
            Err(error) => {
                tracing::error!(push = %id, %error, "a push was not taken");
                None
            }
        }
    }
}

/// Delivers and reports until shutdown.
pub(crate) struct Delivery {
    pub(crate) inbox: Inbox,
    pub(crate) inward: Inward,
    pub(crate) clock: Clock,
    pub(crate) carriers: Carriers,
}

impl Delivery {
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let stop = shutdown.token();
        while !stop.is_cancelled() {
            if let Err(error) = self.round().await {
                tracing::error!(%error, "push delivery failed; going on in a moment");
                stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await;
                continue;
            }
            let pause = match self.inbox.next_due_ms().await {
                Ok(Some(due_ms)) => {
                    Duration::from_millis(due_ms.saturating_sub(self.clock.unix_ms())).min(ROUND)
                }
                _ => ROUND,
            };
            tokio::select! {
                () = self.inbox.changed() => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Everything that is due, once.
    async fn round(&self) -> Result<(), InboxError> {
        let now_ms = self.clock.unix_ms();
        let waiting = self.inbox.waiting(now_ms, 256).await?;
        let delivering =
            futures_util::stream::iter(waiting).map(|due| self.deliver(due)).buffer_unordered(AT_ONCE);
        first_error(delivering).await?;
        let ended = self.inbox.unreported(self.clock.unix_ms(), 256).await?;
        let reporting =
            futures_util::stream::iter(ended).map(|ended| self.report(ended)).buffer_unordered(AT_ONCE);
        first_error(reporting).await?;
        self.inbox.forget(now_ms).await?;
        Ok(())
    }

    async fn deliver(&self, due: Waiting) -> Result<(), InboxError> {
        let id = due.push.id;
        let tried = match &due.push.body {
            PushBody::OneTimeCode { expires_in_s, .. }
                if self.clock.unix_ms() >= due.received_ms + u64::from(*expires_in_s) * 1000 =>
            {
                return self.end(id, false, "expired before it could be delivered".into()).await;
            }
            PushBody::OneTimeCode { phone, code, purpose, expires_in_s, language } => {
                let text = code_text(code.as_str(), *purpose, *expires_in_s, *language);
                let message = Message { id, to: phone.to_string(), text, code: code.to_string() };
                self.carriers.message(&message).await
            }
            PushBody::Instruction { provider, timestamp_s, signature, body } => {
                self.carriers.instruction(id, provider, *timestamp_s, signature, body).await
            }
            PushBody::Settings(_) | PushBody::StaffRevoked(_) => {
                return self.end(id, false, "not for delivery".into()).await;
            }
        };
        match tried {
            Try::Delivered => self.end(id, true, String::new()).await,
            Try::Never(reason) => self.end(id, false, reason).await,
            Try::NotNow(reason) => match self.pause_s(&due) {
                Some(pause_s) => {
                    tracing::warn!(push = %id, attempt = due.attempts + 1, reason, "not delivered; will be tried again");
                    self.inbox.postpone(id, self.clock.unix_ms() + pause_s * 1000).await
                }
                None => self.end(id, false, format!("given up: {reason}")).await,
            },
        }
    }

    /// How long until the next try, in s; `None` where there is none.
    fn pause_s(&self, due: &Waiting) -> Option<u64> {
        let pause_s = PAUSES_S.get(due.attempts as usize).copied();
        let is_instruction = matches!(due.push.body, PushBody::Instruction { .. });
        let is_young = self.clock.unix_ms() < due.received_ms + INSTRUCTION_FOR_MS;
        pause_s.or((is_instruction && is_young).then_some(INSTRUCTION_PAUSE_S))
    }

    async fn end(&self, id: PushId, delivered: bool, reason: String) -> Result<(), InboxError> {
        metrics::counter!("edge_pushes_total", "delivered" => if delivered { "yes" } else { "no" })
            .increment(1);
        if !delivered {
            tracing::warn!(push = %id, reason, "not delivered");
        }
        self.inbox.end(id, delivered, reason, self.clock.unix_ms()).await
    }

    async fn report(&self, ended: Ended) -> Result<(), InboxError> {
        match self.tell(&ended).await {
            Ok(()) => self.inbox.reported(ended.id).await,
            // Such an answer will be the same every time.
            Err(problem) if (400..500).contains(&problem.code.status()) && problem.code.status() != 429 => {
                tracing::error!(push = %ended.id, %problem, "the delivery result is not wanted inside");
                self.inbox.reported(ended.id).await
            }
            Err(_) => {
                let pause_s = 1u64.checked_shl(ended.attempts).unwrap_or(u64::MAX).min(REPORT_PAUSE_MAX_S);
                self.inbox.postpone(ended.id, self.clock.unix_ms() + pause_s * 1000).await
            }
        }
    }

    async fn tell(&self, ended: &Ended) -> Result<(), Problem> {
        let reason: String = ended.reason.chars().filter(|c| !c.is_control()).take(80).collect();
        let reason = Text::new(reason).unwrap_or_default();
        let result = requests::PushResult { push: ended.id, delivered: ended.delivered, reason };
        let mut call = Call::new(Channel::System);
        call.idempotency_key = result.key();
        // Done or accepted: it is durable inside either way.
        self.inward.ask(&call, result).await.map(|_| ())
    }
}

async fn first_error(
    results: impl futures_util::Stream<Item = Result<(), InboxError>>,
) -> Result<(), InboxError> {
    results.fold(Ok(()), async |first, next| first.and(next)).await
}

/// What the short message says.
fn code_text(code: &str, purpose: CodePurpose, expires_in_s: u32, language: Language) -> String {
    let minutes = expires_in_s.div_ceil(60);
    match (language, purpose) {
        (Language::Zh, CodePurpose::LogIn) => {
            format!("【网上营业厅】登录验证码 {code}，{minutes} 分钟内有效。请勿告诉任何人。")
        }
        (Language::Zh, CodePurpose::BindAccount) => {
            format!("【网上营业厅】绑定用电户号的验证码 {code}，{minutes} 分钟内有效。非本人操作请忽略。")
        }
        (Language::Zh, CodePurpose::UnbindAccount) => {
            format!("【网上营业厅】解绑用电户号的验证码 {code}，{minutes} 分钟内有效。非本人操作请忽略。")
        }
        (Language::Zh, CodePurpose::ChangePhone) => {
            format!("【网上营业厅】更换登录手机的验证码 {code}，{minutes} 分钟内有效。请勿告诉任何人。")
        }
        (Language::Zh, CodePurpose::DeletePerson) => {
            format!(
                "【网上营业厅】注销并删除个人信息的验证码 {code}，{minutes} 分钟内有效。非本人操作请忽略。"
            )
        }
        (Language::En, CodePurpose::LogIn) => {
            format!("Your log-in code is {code}. It is good for {minutes} minutes. Tell it to nobody.")
        }
        (Language::En, CodePurpose::BindAccount) => format!(
            "Your code to bind an electricity account is {code}. It is good for {minutes} minutes. \
             If you did not ask for it, do nothing."
        ),
        (Language::En, CodePurpose::UnbindAccount) => format!(
            "Your code to remove an electricity account from your list is {code}. It is good for {minutes} minutes. \
             If you did not ask for it, do nothing."
        ),
        (Language::En, CodePurpose::ChangePhone) => format!(
            "Your code to log in with this phone from now on is {code}. It is good for {minutes} minutes. \
             Tell it to nobody."
        ),
        (Language::En, CodePurpose::DeletePerson) => format!(
            "Your code to delete your personal data is {code}. It is good for {minutes} minutes. \
             If you did not ask for it, do nothing."
        ),
    }
}
