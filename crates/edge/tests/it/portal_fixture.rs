//! A portal on a port, with an invented inside: it answers as the gate and the center would, with bills that are
//! really computed, so that pages show figures that hold together. For tests and for looking at pages.
use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{exports_fixture::Outbound, service_fixture::Desk};
use domain::{
    billing::{BillDraft, BillTerms, Billed, VersionChoice, explain, year_bills},
    calendar::Month,
    money::{Fen, PriceE4, Wh},
    tariff::{Tariff, TariffBook},
    usage::UsageMonth,
};
use edge::{
    config::{Config, Limits, Sms},
    inward::Inward,
};
use jiff::civil::{Date, date};
use protocol::{
    AccountId, BillId, Bucket, ChallengeId, Code, CustomerId, Kind, MandateId, OperationId, Outcome,
    PaymentId, Problem, RefundId, Reply, ReplyEnvelope, Request, RequestEnvelope, SessionId, Token,
    catalogue::{
        replies::{self, *},
        requests::BindProof,
    },
    envelope::MAX_REQUEST_LEN,
    position::Position,
    wire,
};
use runtime::{
    clock::{Clock, ClockHand},
    mux::{Limits as MuxLimits, Peer, Plain, Service},
    shutdown::Shutdown,
};

#[path = "portal_figures.rs"]
mod figures;

use figures::{tariff_compare, tariff_quote, tier_get, usage_year};

/// The code that opens everything here.
pub(crate) const CODE: &str = "246810";
/// The last day with readings.
pub(crate) const TODAY: Date = date(2026, 8, 18);

/// An account with time-of-use prices that owes a bill; one at a single rate that has paid; one that can be bound.
pub(crate) fn accounts() -> [AccountId; 3] {
    [(33, 2_600_418_337), (44, 1_000_730_012), (31, 900_200_300)]
        .map(|(province, serial)| AccountId::mint(province, serial).unwrap())
}

/// Everything is written in one lane here.
const LANE: protocol::LaneId = protocol::LaneId(1);

/// What the inside is in.
#[derive(Clone)]
pub(crate) struct Inside {
    state: Arc<Mutex<State>>,
    /// While set, everything is answered `unavailable`.
    pub(crate) is_away: Arc<AtomicBool>,
    /// While set, writes are done and the answer is lost on the way.
    pub(crate) is_mute: Arc<AtomicBool>,
    /// While set, writes are taken and not visible: they have no result yet, and who insists on them gets nothing.
    pub(crate) is_behind: Arc<AtomicBool>,
    /// While set, the bill before the last of the first account is overdue.
    pub(crate) has_arrears: Arc<AtomicBool>,
    /// What the next request is refused with.
    pub(crate) refusal: Arc<Mutex<Option<Problem>>>,
    /// Sets the portal's clock, which stands.
    pub(crate) hand: ClockHand,
}

struct State {
    bound: Vec<AccountId>,
    looked_at: Vec<AccountId>,
    name: String,
    preferences: PreferencesGet,
    sessions: Vec<SessionBrief>,
    is_stale: bool,
    access: String,
    refresh: String,
    refreshed: u32,
    payments: Vec<Payment>,
    late_fee_fen: Fen,
    supply: SupplyState,
    by_key: HashMap<String, PaymentId>,
    sequence: u64,
    desk: Desk,
    exports: Outbound,
    mandate: Option<Mandate>,
}

impl Inside {
    fn new(hand: ClockHand) -> Self {
        let state = State {
            bound: accounts()[..2].to_vec(),
            looked_at: Vec::new(),
            name: String::new(),
            preferences: PreferencesGet { language: None, elder: false, notices: Default::default() },
            sessions: vec![session(1, true), session(2, false), session(3, false)],
            is_stale: false,
            access: "access-0".into(),
            refresh: "refresh-0".into(),
            refreshed: 0,
            payments: Vec::new(),
            late_fee_fen: Fen(0),
            supply: SupplyState::Connected,
            by_key: HashMap::new(),
            sequence: 0,
            desk: Desk::new(),
            exports: Outbound::of(accounts()[0]),
            mandate: None,
        };
        Inside {
            state: Arc::new(Mutex::new(state)),
            is_away: Arc::default(),
            is_mute: Arc::default(),
            is_behind: Arc::default(),
            has_arrears: Arc::default(),
            refusal: Arc::default(),
            hand,
        }
    }

    /// What the mandate is from now on.
    pub(crate) fn mandate(&self, change: impl FnOnce(&mut Mandate)) {
        change(self.state.lock().unwrap().mandate.as_mut().unwrap());
    }

    /// What a payment is from now on.
    pub(crate) fn payment(&self, id: PaymentId, change: impl FnOnce(&mut Payment)) {
        change(self.state.lock().unwrap().payments.iter_mut().find(|p| p.payment == id).unwrap());
    }

    /// Does something at the service's desk.
    pub(crate) fn desk<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        work(&mut self.state.lock().unwrap().desk)
    }

    /// Does something about the files for customers.
    pub(crate) fn exports<T>(&self, work: impl FnOnce(&mut Outbound) -> T) -> T {
        work(&mut self.state.lock().unwrap().exports)
    }

    /// Makes the session one that was opened long ago.
    pub(crate) fn make_stale(&self) {
        self.state.lock().unwrap().is_stale = true;
    }

    /// Sets what the customer prefers, as from another device.
    pub(crate) fn prefer(&self, language: protocol::envelope::Language, elder: bool) {
        let mut state = self.state.lock().unwrap();
        (state.preferences.language, state.preferences.elder) = (Some(language), elder);
    }

    /// Takes all accounts away.
    pub(crate) fn unbind_all(&self) {
        self.state.lock().unwrap().bound.clear();
    }

    /// Makes the access token that is out stale; the refresh token stays good.
    pub(crate) fn lapse_access(&self) {
        self.state.lock().unwrap().access = "access-lapsed".into();
    }

    /// How often a session was refreshed.
    pub(crate) fn refreshed(&self) -> u32 {
        self.state.lock().unwrap().refreshed
    }

    /// How many payments were ordered.
    pub(crate) fn payment_count(&self) -> usize {
        self.state.lock().unwrap().payments.len()
    }

    /// Settles a payment as the provider would, `times` times.
    pub(crate) fn settle(&self, payment: PaymentId, times: usize) {
        let mut state = self.state.lock().unwrap();
        let late_fee_fen = state.late_fee_fen;
        let payment = state.payments.iter_mut().find(|p| p.payment == payment).unwrap();
        payment.state = PaymentState::Paid;
        let bill = BillId { account: payment.account, month: "2026-07".parse().unwrap() };
        let once = payment.amount_fen.0;
        payment.receipt = Some(Receipt {
            number: "R-20260818-000417".into(),
            paid_fen: Fen(once * times as i64),
            paid_ms: 1_787_019_912_000,
            transactions: (1..=times).map(|n| format!("sim-tx-88213{n}")).collect(),
            bills: vec![BillPart { bill, amount_fen: Fen(once) }],
            late_fees: if late_fee_fen > Fen(0) {
                vec![BillPart { bill, amount_fen: late_fee_fen }]
            } else {
                vec![]
            },
            credit_fen: Fen(once * (times as i64 - 1)),
        });
    }

    /// Makes a payment one that somebody else ordered.
    pub(crate) fn by_another(&self, payment: PaymentId) {
        let mut state = self.state.lock().unwrap();
        state.payments.iter_mut().find(|p| p.payment == payment).unwrap().by_another = true;
    }

    /// Makes what is owed ten days late, with a late fee so far.
    pub(crate) fn be_late(&self, late_fee_fen: i64) {
        self.state.lock().unwrap().late_fee_fen = Fen(late_fee_fen);
    }

    /// Cuts the power off, or brings it back.
    pub(crate) fn supply(&self, state: SupplyState) {
        self.state.lock().unwrap().supply = state;
    }

    /// Lets a payment's time pass.
    pub(crate) fn expire(&self, payment: PaymentId) {
        let mut state = self.state.lock().unwrap();
        state.payments.iter_mut().find(|p| p.payment == payment).unwrap().state = PaymentState::Expired;
    }

    fn answer(&self, envelope: &RequestEnvelope) -> Outcome {
        if self.is_away.load(Ordering::SeqCst) {
            return Outcome::Problem(Problem::new(Code::Unavailable, "Away."));
        }
        let mut state = self.state.lock().unwrap();
        let key =
            envelope.head.idempotency_key.as_ref().map(|key| key.as_str().to_owned()).unwrap_or_default();
        let session = envelope.head.session.as_deref();
        if session.is_none_or(|session| session == state.access)
            && envelope.head.token.positions().any(|p| p.lane != LANE || p.sequence > state.sequence)
        {
            return Outcome::Problem(Problem::new(Code::TokenInvalid, "Not of this system."));
        }
        let open = matches!(
            envelope.request,
            Request::LoginStart(_)
                | Request::LoginFinish(_)
                | Request::SessionRefresh(_)
                | Request::FormList(_)
        );
        if !open && session != Some(state.access.as_str()) {
            return Outcome::Problem(Problem::new(Code::Unauthenticated, "No session."));
        }
        let is_refusable = !matches!(envelope.request, Request::AccountList(_) | Request::SessionRefresh(_));
        if let Some(problem) = self.refusal.lock().unwrap().take_if(|_| is_refusable) {
            return Outcome::Problem(problem);
        }
        let is_write = envelope.request.spec().kind == Kind::Write;
        let is_behind = self.is_behind.load(Ordering::SeqCst);
        if is_behind && !is_write && !envelope.head.token.is_empty() {
            return Outcome::Pending(Vec::new());
        }
        match state.serve(&envelope.request, key) {
            Ok(_) if is_write && self.is_mute.load(Ordering::SeqCst) => {
                Outcome::Problem(Problem::new(Code::DeadlineExceeded, "No answer."))
            }
            Ok(_) if is_write && is_behind => Outcome::Accepted(operation()),
            Ok(Reply::OperationGet(mut reply)) if !is_behind => {
                reply.state = OperationState::Applied;
                Outcome::Done(Reply::OperationGet(reply))
            }
            Ok(mut reply) => {
                if self.has_arrears.load(Ordering::SeqCst) {
                    with_arrears(&mut reply);
                }
                Outcome::Done(reply)
            }
            Err(problem) => Outcome::Problem(problem),
        }
    }
}

impl Service for Inside {
    async fn request(&self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let envelope = RequestEnvelope::decode(&payload).ok()?;
        let outcome = self.answer(&envelope);
        let sequence = self.state.lock().unwrap().sequence;
        let position = Position { lane: LANE, generation: 1, sequence };
        let token = if sequence > 0 { Token::at(position) } else { Token::default() };
        Some(wire::encode(&ReplyEnvelope { request_id: envelope.head.request_id, outcome, token }))
    }
    async fn push(&self, _payload: Vec<u8>) -> Option<Vec<u8>> {
        None
    }
}

/// The write that is under way while the inside is behind.
pub(crate) fn operation() -> OperationId {
    OperationId::mint(Bucket::of(b"o"), 7)
}

/// The first account's June is not paid, and late.
fn with_arrears(reply: &mut Reply) {
    let june = bills(accounts()[0]).into_iter().rev().nth(1).unwrap();
    match reply {
        Reply::AccountSummary(summary) if summary.account == accounts()[0] => {
            let balance = &mut summary.balance;
            balance.due_fen += june.amount_fen;
            (balance.overdue_fen, balance.due_on) = (june.amount_fen, Some(date(2026, 7, 25)));
        }
        Reply::BillList(list) => {
            let is_june =
                |bill: &&mut BillBrief| bill.bill.account == accounts()[0] && bill.month == june.period;
            for bill in list.bills.iter_mut().filter(is_june) {
                (bill.paid_fen, bill.state) = (Fen(0), BillState::Overdue);
            }
        }
        _ => {}
    }
}

fn session(n: u128, is_current: bool) -> SessionBrief {
    SessionBrief {
        session: SessionId::mint(Bucket::of(b"s"), n << 20),
        channel: [None, Some(protocol::Channel::Portal), Some(protocol::Channel::Wechat), None][n as usize],
        begun_ms: Some(1_750_000_000_000),
        used_ms: Some(1_787_019_840_000),
        expires_ms: 1_800_000_000_000,
        is_current,
    }
}

fn challenge() -> ChallengeId {
    ChallengeId::mint(Bucket::of(b"c"), 7)
}

impl State {
    fn tokens(&self) -> Option<SessionTokens> {
        Some(SessionTokens {
            access_token: self.access.clone(),
            refresh_token: self.refresh.clone(),
            expires_in_s: 900,
        })
    }

    fn own(&self, account: AccountId) -> Result<(), Problem> {
        if self.bound.contains(&account) { Ok(()) } else { Err(Problem::not_found("account")) }
    }

    fn serve(&mut self, request: &Request, key: String) -> Result<Reply, Problem> {
        let session = SessionId::mint(Bucket::of(b"s"), 1);
        Ok(match request {
            Request::LoginStart(_) => Reply::LoginStart(replies::LoginStart {
                challenge: challenge(),
                expires_in_s: 300,
                resend_in_s: 60,
            }),
            Request::LoginFinish(r) => {
                check_code(r.code.as_str())?;
                let customer = CustomerId::mint(Bucket::of(b"c"), 1);
                Reply::LoginFinish(replies::LoginFinish { session, customer, tokens: self.tokens() })
            }
            Request::SessionRefresh(r) => {
                if *r.refresh_token != *self.refresh {
                    return Err(Problem::new(Code::Unauthenticated, "Used."));
                }
                self.refreshed += 1;
                self.access = format!("access-{}", self.refreshed);
                self.refresh = format!("refresh-{}", self.refreshed);
                let generation = self.refreshed;
                Reply::SessionRefresh(replies::SessionRefresh { session, generation, tokens: self.tokens() })
            }
            Request::SessionEnd(_) => Reply::SessionEnd(replies::SessionEnd {}),
            Request::AccountList(_) => {
                let bound =
                    |account: &AccountId| BoundAccount { account: *account, bound_ms: 1_750_000_000_000 };
                Reply::AccountList(replies::AccountList { accounts: self.bound.iter().map(bound).collect() })
            }
            Request::AccountSummary(r) => {
                self.own(r.account)?;
                let mut summary = summary(r.account, self.is_settled(r.account));
                summary.latest_bill.iter_mut().for_each(|bill| self.make_late(bill));
                if summary.balance.due_fen > Fen(0) && self.late_fee_fen > Fen(0) {
                    summary.balance.due_fen += self.late_fee_fen;
                    summary.balance.overdue_fen = summary.balance.due_fen;
                    summary.balance.late_fee_fen = self.late_fee_fen;
                }
                summary.supply.state = self.supply;
                if self.supply == SupplyState::Reconnecting {
                    summary.supply.reconnect_at_ms = Some(1_787_020_200_000);
                }
                Reply::AccountSummary(summary)
            }
            Request::AccountBindStart(r) => {
                // Whether there is such an account, and whose phone it has, is not said.
                let _ = r.account;
                Reply::AccountBindStart(replies::AccountBindStart {
                    challenge: challenge(),
                    phone: String::new(),
                    expires_in_s: 300,
                })
            }
            Request::AccountBind(r) => {
                let latest = bills(r.account).pop().unwrap();
                let fits = match &r.proof {
                    BindProof::Code { code, .. } => {
                        return check_code(code.as_str()).map(|()| self.bind(r.account));
                    }
                    BindProof::LatestBill { month, amount_fen } => {
                        *month == latest.period && *amount_fen == latest.amount_fen.0
                    }
                };
                if !fits {
                    return Err(Problem::new(Code::ProofWrong, "No."));
                }
                self.bind(r.account)
            }
            Request::AccountUnbindStart(r) => {
                self.own(r.account)?;
                let challenge = challenge();
                Reply::AccountUnbindStart(replies::AccountUnbindStart { challenge, expires_in_s: 300 })
            }
            Request::AccountUnbind(r) => {
                self.own(r.account)?;
                let latest = bills(r.account).pop().unwrap();
                let fits = match &r.proof {
                    BindProof::Code { code, .. } => code.as_str() == CODE,
                    BindProof::LatestBill { amount_fen, .. } => *amount_fen == latest.amount_fen.0,
                };
                if !fits {
                    return Err(Problem::new(Code::ProofWrong, "No."));
                }
                self.bound.retain(|account| *account != r.account);
                Reply::AccountUnbind(replies::AccountUnbind { account: r.account })
            }
            Request::PayeeGet(r) => {
                let index = accounts().iter().position(|account| *account == r.account);
                index.ok_or_else(|| Problem::not_found("account"))?;
                let AccountSummary { holder, address, balance, .. } = summary(r.account, false);
                let due_fen = balance.due_fen;
                self.looked_at.push(r.account);
                Reply::PayeeGet(replies::PayeeGet { account: r.account, holder, address, due_fen })
            }
            Request::PersonGet(_) => Reply::PersonGet(replies::PersonGet {
                customer: CustomerId::mint(Bucket::of(b"c"), 1),
                since_ms: Some(1_750_000_000_000),
                phone: Some("13800138000".parse().unwrap()),
                name: self.name.clone(),
                preferences: self.preferences.clone(),
                accounts: Vec::new(),
                sessions: self.sessions.clone(),
                payees: Vec::new(),
            }),
            Request::PersonCorrect(r) => {
                self.name = r.name.to_string();
                Reply::PersonCorrect(replies::PersonCorrect {})
            }
            Request::PreferencesGet(_) => Reply::PreferencesGet(self.preferences.clone()),
            Request::PreferencesSet(r) => {
                let (language, elder, notices) = (r.language, r.elder, r.notices);
                self.preferences = PreferencesGet { language, elder, notices };
                Reply::PreferencesSet(replies::PreferencesSet {})
            }
            Request::SessionList(_) => {
                Reply::SessionList(replies::SessionList { sessions: self.sessions.clone() })
            }
            Request::SessionEndOther(r) => {
                let before = self.sessions.len();
                self.sessions.retain(|s| s.is_current || r.session.is_some_and(|id| id != s.session));
                let ended = (before - self.sessions.len()) as u32;
                Reply::SessionEndOther(replies::SessionEndOther { ended })
            }
            Request::PersonDeleteStart(_) => Reply::PersonDeleteStart(replies::PersonDeleteStart {
                challenge: challenge(),
                phone: "138****8000".into(),
                expires_in_s: 300,
            }),
            Request::PersonDelete(r) => {
                check_code(r.code.as_str())?;
                self.access = "access-gone".into();
                self.refresh = "refresh-gone".into();
                Reply::PersonDelete(replies::PersonDelete {})
            }
            Request::PhoneChangeStart(_) if self.is_stale => {
                return Err(Problem::new(Code::SessionStale, "Log in anew."));
            }
            Request::PhoneChangeStart(_) => Reply::PhoneChangeStart(replies::PhoneChangeStart {
                challenge: challenge(),
                expires_in_s: 300,
            }),
            Request::PhoneChange(r) => {
                check_code(r.code.as_str())?;
                Reply::PhoneChange(replies::PhoneChange {})
            }
            Request::BillList(r) => {
                self.own(r.account)?;
                let settled = self.is_settled(r.account);
                let older = |bill: &BillBrief| r.before.is_none_or(|before| bill.month < before);
                let all: Vec<_> = bills(r.account)
                    .iter()
                    .rev()
                    .map(|b| brief(r.account, b, settled))
                    .filter(older)
                    .collect();
                let page: Vec<_> = all.iter().take(usize::from(r.limit)).cloned().collect();
                let next_before = (all.len() > page.len()).then(|| page.last().unwrap().month);
                Reply::BillList(replies::BillList { bills: page, next_before })
            }
            Request::BillGet(r) => {
                self.own(r.bill.account)?;
                let mut reply = bill_get(r.bill, self.is_settled(r.bill.account))?;
                self.make_late(&mut reply.bill);
                Reply::BillGet(reply)
            }
            Request::UsageMonth(r) => {
                self.own(r.account)?;
                Reply::UsageMonth(usage_month(r.account, r.month))
            }
            Request::UsageYear(r) => {
                self.own(r.account)?;
                Reply::UsageYear(usage_year(r.account, r.year.get()))
            }
            Request::TierGet(r) => {
                self.own(r.account)?;
                Reply::TierGet(tier_get(summary(r.account, self.is_settled(r.account))))
            }
            Request::TariffCompare(r) => {
                self.own(r.account)?;
                Reply::TariffCompare(tariff_compare(r.account))
            }
            Request::TariffQuote(r) => {
                self.own(r.account)?;
                Reply::TariffQuote(tariff_quote(r))
            }
            Request::PaymentCreate(r) => {
                if !self.looked_at.contains(&r.account) {
                    self.own(r.account)?;
                }
                let next = PaymentId::mint(r.account.bucket(), (self.payments.len() as u128 + 1) << 64);
                let payment = *self.by_key.entry(key).or_insert(next);
                if payment == next {
                    self.sequence += 1;
                    let ordered = Payment {
                        payment,
                        account: r.account,
                        amount_fen: r.amount_fen.fen(),
                        provider: r.provider.to_string(),
                        by_another: false,
                        is_automatic: false,
                        failure: None,
                        refunds: Vec::new(),
                        state: PaymentState::Open,
                        created_ms: 1_787_019_840_000,
                        expires_ms: 1_787_021_640_000,
                        receipt: None,
                    };
                    self.payments.push(ordered);
                }
                let pay_url = format!("http://127.0.0.1:9/pay?order={payment}");
                Reply::PaymentCreate(replies::PaymentCreate { payment, pay_url, expires_s: 1_787_021_640 })
            }
            Request::PaymentGet(r) => {
                let payment = self.payments.iter().find(|p| p.payment == r.payment).cloned();
                let mut payment = payment.ok_or_else(|| Problem::not_found("payment"))?;
                if let Some(receipt) = payment.receipt.as_mut().filter(|_| self.own(payment.account).is_err())
                {
                    (receipt.bills, receipt.credit_fen) = (Vec::new(), Fen(0));
                }
                let pay_url = Some(format!("http://127.0.0.1:9/pay?order={}", payment.payment));
                let back: Fen = payment.refunds.iter().map(|refund| refund.amount_fen).sum();
                let credit = payment.receipt.as_ref().map_or(Fen(0), |receipt| receipt.credit_fen);
                Reply::PaymentGet(replies::PaymentGet { payment, pay_url, refundable_fen: credit - back })
            }
            Request::RefundCreate(r) => {
                let refund = RefundId::from_bits(r.payment.bits());
                let payment = self.payments.iter_mut().find(|p| p.payment == r.payment);
                payment.ok_or_else(|| Problem::not_found("payment"))?.refunds.push(Refund {
                    refund,
                    amount_fen: r.amount_fen.fen(),
                    state: RefundState::UnderWay,
                    asked_ms: 1_787_019_912_000,
                    ended_ms: None,
                });
                let amount_fen = r.amount_fen.fen();
                Reply::RefundCreate(replies::RefundCreate { refund, payment: r.payment, amount_fen })
            }
            Request::MandateCreate(r) => {
                self.own(r.account)?;
                let mandate = MandateId::mint(r.account.bucket(), 7);
                let sign_url = format!("http://127.0.0.1:9/mandate?mandate={mandate}");
                self.mandate = Some(Mandate {
                    mandate,
                    account: r.account,
                    provider: r.provider.to_string(),
                    limit_fen: Some(r.limit_fen.fen()),
                    by_another: false,
                    state: MandateState::Unsigned,
                    created_ms: 1_787_019_840_000,
                    sign_url: Some(sign_url.clone()),
                    expires_ms: 1_787_021_640_000,
                    next_run_ms: None,
                    running: None,
                    last_failure: None,
                    ended_ms: None,
                });
                let expires_s = 1_787_021_640;
                Reply::MandateCreate(replies::MandateCreate { mandate, sign_url, expires_s })
            }
            Request::MandateGet(r) => {
                self.own(r.account)?;
                let mandate = self.mandate.clone().filter(|mandate| mandate.account == r.account);
                Reply::MandateGet(replies::MandateGet { mandate })
            }
            Request::MandateEnd(r) => {
                let mandate = self.mandate.as_mut().ok_or_else(|| Problem::not_found("mandate"))?;
                (mandate.state, mandate.ended_ms) = (MandateState::EndedHere, Some(1_787_019_912_000));
                Reply::MandateEnd(replies::MandateEnd { account: r.account })
            }
            Request::PaymentList(r) => {
                let is_asked = |p: &&Payment| p.account == r.account && r.before.is_none();
                let own = self.payments.iter().rev().filter(is_asked).cloned().collect();
                let next_before = r.before.is_none().then_some(1_787_019_840_000);
                Reply::PaymentList(replies::PaymentList { payments: own, next_before })
            }
            Request::OperationGet(r) => Reply::OperationGet(replies::OperationGet {
                operation: r.operation,
                name: "payment_create".into(),
                state: OperationState::Accepted,
                problem: None,
                result: None,
                accepted_ms: 0,
            }),
            other => {
                let not_here = || Problem::new(Code::InvalidRequest, "Not here.");
                let served = self.exports.serve(other)?;
                return served
                    .map_or_else(|| self.desk.serve(other), |reply| Ok(Some(reply)))?
                    .ok_or_else(not_here);
            }
        })
    }

    fn make_late(&self, bill: &mut BillBrief) {
        if self.late_fee_fen > Fen(0) && bill.month == "2026-07".parse().unwrap() {
            let is_paid = bill.state == BillState::Paid;
            bill.late_fee_fen = self.late_fee_fen;
            bill.late_fee_paid_fen = if is_paid { self.late_fee_fen } else { Fen(0) };
            bill.state = if is_paid { BillState::Paid } else { BillState::Overdue };
            bill.due_on = date(2026, 8, 8);
        }
    }

    fn bind(&mut self, account: AccountId) -> Reply {
        self.bound.push(account);
        self.sequence += 1;
        Reply::AccountBind(replies::AccountBind { account })
    }

    fn is_settled(&self, account: AccountId) -> bool {
        let paid = self.payments.iter().any(|p| p.account == account && p.state == PaymentState::Paid);
        paid || account == accounts()[1]
    }
}

fn check_code(code: &str) -> Result<(), Problem> {
    if code == CODE { Ok(()) } else { Err(Problem::new(Code::CodeWrong, "No.")) }
}

fn tariff_ids(account: AccountId) -> (&'static str, &'static str) {
    match accounts().iter().position(|a| *a == account) {
        Some(0) => ("zj-residential-tou", "zj-residential"),
        Some(1) => ("gz-residential", ""),
        _ => ("sh-residential-tou", "sh-residential"),
    }
}

fn tariff(id: &str) -> Option<&'static Tariff> {
    TariffBook::published().get(id)
}

/// Use of one hour: more in the evening, in summer and in winter; a little different each day.
fn hour_wh(account: AccountId, day: Date, hour: usize) -> Wh {
    const SHAPE: [i64; 24] =
        [9, 8, 7, 7, 7, 8, 10, 14, 13, 12, 12, 14, 15, 13, 12, 12, 14, 19, 26, 29, 28, 24, 17, 12];
    const SEASON: [i64; 12] = [125, 110, 90, 75, 78, 105, 150, 165, 120, 80, 85, 115];
    let month = usize::from(day.month().unsigned_abs()) - 1;
    let weather =
        70 + (account.number() as i64 / 10 + i64::from(day.day()).pow(2) * 7 + month as i64 * 13) % 71;
    let noise = 80 + (i64::from(day.day()) * 37 + hour as i64 * 11) % 41;
    Wh(SHAPE[hour] * SEASON[month] * noise * weather * 33 / 1_000_000)
}

fn day_usage(account: AccountId, day: Date) -> DayUsage {
    let by_hour_wh: Vec<Wh> = (0..24).map(|hour| hour_wh(account, day, hour)).collect();
    let energy_wh: Wh = by_hour_wh.iter().sum();
    let has_periods = tariff_ids(account).0.ends_with("-tou");
    let peak_wh = if has_periods { by_hour_wh[8..22].iter().sum() } else { energy_wh };
    DayUsage { date: day, energy_wh, peak_wh, by_hour_wh, estimated: day == date(2026, 8, 9) }
}

fn usage_of(account: AccountId, month: Month) -> UsageMonth {
    let mut hours = [Wh(0); 24];
    for day in month.dates() {
        for (hour, sum) in hours.iter_mut().enumerate() {
            *sum += hour_wh(account, day, hour);
        }
    }
    UsageMonth::from_hours(month, hours)
}

fn bills_with(account: AccountId, id: &str) -> Vec<BillDraft> {
    let mut months = vec!["2025-01".parse::<Month>().unwrap()];
    while *months.last().unwrap() < "2026-07".parse().unwrap() {
        months.push(months.last().unwrap().next());
    }
    let usage: Vec<UsageMonth> = months.into_iter().map(|month| usage_of(account, month)).collect();
    let terms = BillTerms { version: VersionChoice::Named, ..BillTerms::default() };
    year_bills(tariff(id).unwrap(), &usage, &terms).unwrap()
}

fn bills(account: AccountId) -> Vec<BillDraft> {
    bills_with(account, tariff_ids(account).0)
}

fn brief(account: AccountId, draft: &BillDraft, settled: bool) -> BillBrief {
    let newest = draft.period == "2026-07".parse().unwrap();
    let is_paid = !newest || settled;
    BillBrief {
        bill: BillId { account, month: draft.period },
        month: draft.period,
        energy_wh: draft.energy_wh,
        amount_fen: draft.amount_fen,
        paid_fen: if is_paid { draft.amount_fen } else { Fen(0) },
        late_fee_fen: Fen(0),
        late_fee_paid_fen: Fen(0),
        late_fee_on: TODAY,
        state: if is_paid { BillState::Paid } else { BillState::Open },
        issued_on: draft.period.next().first_day(),
        due_on: draft.period.next().first_day().with().day(25).build().unwrap(),
    }
}

fn tariff_brief(id: &str) -> TariffBrief {
    let tariff = tariff(id).unwrap();
    TariffBrief {
        tariff: tariff.id.clone(),
        name_en: tariff.name_en.clone(),
        name_zh: tariff.name_zh.clone(),
        time_of_use: tariff.is_time_of_use(),
    }
}

fn bill_get(bill: BillId, settled: bool) -> Result<BillGet, Problem> {
    let (own, other) = tariff_ids(bill.account);
    let all = bills(bill.account);
    let index = all.iter().position(|b| b.period == bill.month).ok_or_else(|| Problem::not_found("bill"))?;
    let draft = &all[index];
    let tariff = tariff(own).unwrap();
    let version = tariff.version_named(bill.month.first_day()).unwrap();
    let is_year = version.tier_period == domain::tariff::TierPeriod::Year;
    let same_year = |b: &&BillDraft| is_year && b.period.year() == bill.month.year() && b.period < bill.month;
    let alternative = (!other.is_empty()).then(|| {
        let draft = bills_with(bill.account, other).swap_remove(index);
        AlternativeBill { tariff: tariff_brief(other), lines: draft.lines, amount_fen: draft.amount_fen }
    });
    let month =
        |b: &BillDraft| MonthAmount { month: b.period, energy_wh: b.energy_wh, amount_fen: b.amount_fen };
    Ok(BillGet {
        bill: brief(bill.account, draft, settled),
        tariff: TariffSource {
            brief: tariff_brief(own),
            source_en: tariff.source_en.clone(),
            source_zh: tariff.source_zh.clone(),
            source_date: tariff.source_date,
            valid_from: version.valid_from,
            valid_from_confirmed: version.valid_from_confirmed,
            note_en: tariff.note_en.clone(),
            note_zh: tariff.note_zh.clone(),
            tier_period: version.tier_period,
        },
        lines: draft.lines.clone(),
        used_before_wh: all.iter().filter(same_year).map(|b| b.energy_wh).sum(),
        tier_limits_wh: version.limits_wh(bill.month, Default::default(), 12),
        by_hour_wh: usage_of(bill.account, bill.month).by_hour().unwrap().to_vec(),
        alternative,
        history: all[index.saturating_sub(12)..=index].iter().map(month).collect(),
        against_previous: index.checked_sub(1).map(|before| explain(&billed(&all[before]), &billed(draft))),
        against_last_year: index.checked_sub(12).map(|before| explain(&billed(&all[before]), &billed(draft))),
    })
}

fn billed(draft: &BillDraft) -> Billed<'_> {
    Billed {
        month: draft.period,
        tariff: &draft.tariff,
        version: draft.version,
        energy_wh: draft.energy_wh,
        amount_fen: draft.amount_fen,
        lines: &draft.lines,
    }
}

fn usage_month(account: AccountId, month: Month) -> replies::UsageMonth {
    let (first, last): (Month, Month) = ("2025-01".parse().unwrap(), Month::of(TODAY));
    let is_known = |day: &Date| month >= first && *day <= TODAY;
    let days: Vec<DayUsage> = month.dates().filter(is_known).map(|day| day_usage(account, day)).collect();
    let energy_wh = days.iter().map(|day| day.energy_wh).sum();
    replies::UsageMonth { account, month, days, energy_wh, first_month: Some(first), last_month: Some(last) }
}

fn summary(account: AccountId, settled: bool) -> AccountSummary {
    let latest = bills(account).pop().unwrap();
    let until = |month: Month| -> Wh {
        let so_far = month.dates().filter(|day| day.day() <= TODAY.day());
        so_far.map(|day| day_usage(account, day).energy_wh).sum()
    };
    let month = Month::of(TODAY);
    let index = accounts().iter().position(|a| *a == account).unwrap();
    let due_fen = if settled { Fen(0) } else { latest.amount_fen };
    let used_wh = Wh(latest.tier_status.used_in_period_wh.0 * i64::from(index != 1) + until(month).0);
    let limits: [(i64, i64); 2] = [(2_760_000, 5880), (4_800_000, 8380)];
    let tier = limits.iter().filter(|(limit, _)| used_wh.0 > *limit).count();
    AccountSummary {
        account,
        holder: ["张*华", "李*", "王*明"][index].into(),
        address: ["浙江省杭州市西湖区文三路***号", "广东省广州市天河区体育西路***号", "上海市浦东新区***弄"]
            [index]
            .into(),
        division: "330106".into(),
        tariff: tariff_brief(tariff_ids(account).0),
        balance: Balance {
            due_fen,
            overdue_fen: Fen(0),
            late_fee_fen: Fen(0),
            due_on: (due_fen > Fen(0)).then(|| date(2026, 8, 25)),
            credit_fen: Fen(if index == 1 { 3_650 } else { 0 }),
        },
        supply: SupplyStanding {
            state: SupplyState::Connected,
            reconnect_at_ms: None,
            reconnect_after_s: 300,
        },
        latest_bill: Some(brief(account, &latest, settled)),
        this_month: UsageSoFar {
            month,
            through: Some(TODAY),
            energy_wh: until(month),
            last_month_wh: until(month.prev()),
            last_year_wh: until("2025-08".parse().unwrap()),
        },
        tier: TierStanding {
            tier: tier as u8 + 1,
            used_wh,
            left_wh: limits.get(tier).map(|(limit, _)| Wh(limit - used_wh.0)),
            limits_wh: limits.iter().map(|(limit, _)| Wh(*limit)).collect(),
            price_e4: PriceE4([5680, 6180, 8680][tier]),
            next_price_e4: [Some(PriceE4(6180)), Some(PriceE4(8680)), None][tier],
            resets_on: date(2027, 1, 1),
        },
    }
}

/// A running portal; dropped, it lets go of its gate.
pub(crate) struct Portal {
    pub(crate) url: String,
    pub(crate) inside: Inside,
    pub(crate) shutdown: Shutdown,
}

/// Starts the portal on `port` (0: a free one), with its gate's socket in `folder`.
pub(crate) async fn start(folder: &Path, port: u16) -> Portal {
    let shutdown = Shutdown::new();
    // Noon of that day in China.
    let noon = TODAY.at(4, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp();
    let (clock, hand) = Clock::manual(noon.as_millisecond().unsigned_abs());
    let inside = Inside::new(hand);
    let socket = folder.join("outer.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let service = inside.clone();
    tokio::spawn(async move {
        let plain = Plain { max_payload: MAX_REQUEST_LEN.max(protocol::envelope::MAX_REPLY_LEN) };
        while let Ok((stream, _)) = listener.accept().await {
            let (reader, writer) = stream.into_split();
            let _ = Peer::start(reader, writer, (plain, plain), MuxLimits::default(), service.clone());
        }
    });
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let config = Config {
        listen: listener.local_addr().unwrap(),
        public_url: url.clone(),
        data: folder.to_owned(),
        gates: folder.join("gates"),
        allowed_uids: Vec::new(),
        hotline: protocol::bounds::Text::new("95598").unwrap(),
        sms: Sms::Sim { url: "http://127.0.0.1:9".into() },
        providers: Default::default(),
        inside: None,
        limits: Limits::default(),
        files: Default::default(),
    };
    let inward = Inward::new(clock.clone());
    inward.connect(&socket, tokio_util::sync::CancellationToken::new(), &[], &inside, &shutdown);
    inward.gates().ready().await;
    let files = edge::Files::open(folder, &config.files, inward.clone(), clock).unwrap();
    let router = edge::portal::router(inward, Arc::new(config), files, shutdown.token());
    tokio::spawn(async move { axum::serve(listener, router).await });
    Portal { url, inside, shutdown }
}

impl Drop for Portal {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
