//! A small business: enough operations to write every kind of row, and to go wrong in every way a rule can.
use domain::{
    billing::{BillLine, LineKind},
    calendar::Month,
    late_fee::LateFee,
    ledger::{Entry, LedgerAccount, Posting, PostingKind},
    money::{Fen, PriceE4, Wh},
};
use gridesk_storage::{
    message::{Child, Decision, NewMessage},
    rows::{
        Account, BillDetail, BillHead, Challenge, Identity, Payee, Payment, Person, Put, Session, Settled,
    },
    store::Decide,
    working_set::{NotLoaded, WorkingSet},
};
use protocol::{
    AccountId, BillId, Bucket, ChallengeId, Channel, Code, CustomerId, PaymentId, Problem, PushId, Reply,
    SessionId,
    bounds::Opaque,
    catalogue::{
        replies::{BillPart, GateProbe},
        requests::Notices,
    },
    envelope::Language,
    push::{CodePurpose, PushBody},
};
use serde::{Deserialize, Serialize};

/// The code of all test operations; which one it is, the body says.
pub(crate) const CODE: u16 = 0xf000;

/// An operation. Accounts, customers and so on are named by small numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Op {
    /// Makes or replaces an account.
    Open { account: u64, credit_fen: i64 },
    /// Adds to an account's credit; rejected where there is no account, refused by the database below zero.
    Credit { account: u64, fen: i64 },
    /// Issues or replaces a bill.
    Bill { account: u64, month: i8, amount_fen: i64, paid_fen: i64 },
    /// Sets what is paid of a bill, whatever the database says to it.
    Paid { account: u64, month: i8, paid_fen: i64 },
    /// Binds an account, and tells the customer's own lane by a child.
    Bind { account: u64, customer: u64, since_ms: u64 },
    /// The child of `Bind`.
    Bound { account: u64, customer: u64, since_ms: u64 },
    /// Takes a customer off an account and the account off their list.
    Unbind { account: u64, customer: u64 },
    /// A customer asks whose account it is.
    Payee { account: u64, customer: u64, asked_ms: u64 },
    /// Forgets whose accounts a customer asked about.
    ForgetPayees { customer: u64 },
    /// Sets what is held about a customer.
    Person { customer: u64, codes: u32 },
    /// Refreshes or begins a session.
    Session { session: u64 },
    /// Counts a code for a phone and pushes it.
    Code { phone: u64, challenge: u64 },
    /// Orders a payment.
    Order { payment: u64, account: u64, fen: i64 },
    /// A provider's message: pays the oldest open bills, the rest becomes credit. Known transactions are rejected.
    Settle { payment: u64, transaction: u64 },
    /// The same without looking whether the transaction is known.
    SettleBlindly { payment: u64, transaction: u64 },
    /// A push's delivery has ended.
    Delivered { push: u64, delivered: bool },
    /// A day of readings.
    Readings { account: u64, day: i8 },
    /// Rejected, but counts a wrong proof.
    WrongProof { account: u64 },
    /// Answers all it sees of these.
    Look { account: u64, customer: u64, phone: u64, payment: u64 },
    /// Writes a row, then breaks.
    Panic { account: u64 },
    /// Asks for so many accounts.
    Ask { accounts: u64 },
    /// Asks for the same row for ever.
    AskForEver,
}

/// The `n`-th account.
pub(crate) fn account(n: u64) -> AccountId {
    AccountId::mint(33, n).unwrap()
}

fn bucket(n: u64) -> Bucket {
    Bucket::of(&n.to_be_bytes())
}

/// The `n`-th customer.
pub(crate) fn customer(n: u64) -> CustomerId {
    CustomerId::mint(bucket(n), u128::from(n) << 13)
}

/// The `n`-th session.
pub(crate) fn session(n: u64) -> SessionId {
    SessionId::mint(bucket(n), u128::from(n) << 13)
}

/// The `n`-th challenge.
pub(crate) fn challenge(n: u64) -> ChallengeId {
    ChallengeId::mint(bucket(n), u128::from(n) << 13)
}

/// The `n`-th payment.
pub(crate) fn payment(n: u64) -> PaymentId {
    PaymentId::mint(bucket(n), u128::from(n) << 13)
}

/// The `n`-th push.
pub(crate) fn push(n: u64) -> PushId {
    PushId::mint(bucket(n), u128::from(n) << 13)
}

/// The bill of an account in a month of 2026; 0 is December of 2025, -9 its March.
pub(crate) fn bill(account_n: u64, month: i8) -> BillId {
    let (year, month) = if month > 0 { (2026, month) } else { (2025, month + 12) };
    BillId { account: account(account_n), month: Month::new(year, month).unwrap() }
}

/// An account as `Op::Open` makes it.
pub(crate) fn account_row(n: u64, credit_fen: i64) -> Account {
    Account {
        id: account(n),
        holder: format!("张{n}"),
        phone: n.is_multiple_of(2).then(|| phone(n).parse().unwrap()),
        address: "文一西路 1 号".into(),
        division: "330106".into(),
        tariff: "zj-residential".parse().unwrap(),
        large_household: n.is_multiple_of(3),
        opened: Month::new(2020, 1).unwrap(),
        credit_fen: Fen(credit_fen),
        wrong_proofs: 0,
        proof_window_ms: u64::MAX >> 1,
    }
}

/// A bill as `Op::Bill` makes it.
pub(crate) fn bill_row(account: u64, month: i8, amount_fen: i64, paid_fen: i64) -> (BillHead, BillDetail) {
    let id = bill(account, month);
    let head = BillHead {
        id,
        tariff: "zj-residential".parse().unwrap(),
        tariff_from: "2026-01-01".parse().unwrap(),
        energy_wh: Wh(123_456),
        amount_fen: Fen(amount_fen),
        paid_fen: Fen(paid_fen),
        issued_on: id.month.last_day(),
        due_on: id.month.next().last_day(),
        late_fee: LateFee::default(),
    };
    let line = BillLine {
        kind: "tier-1".parse::<LineKind>().unwrap(),
        energy_wh: Wh(123_456),
        price_e4: PriceE4(5_380),
        amount_fen: Fen(amount_fen),
        note: None,
    };
    (head, BillDetail { lines: vec![line], used_before_wh: Wh(5), tier_limits_wh: vec![Wh(1), Wh(2)] })
}

/// The `n`-th phone.
pub(crate) fn phone(n: u64) -> String {
    format!("1990000{n:04}")
}

/// A reply that says something.
pub(crate) fn reply(text: impl Into<String>) -> Reply {
    Reply::GateProbe(GateProbe {
        payload: Opaque::new(text.into().into_bytes()).unwrap(),
        reaches_center: None,
    })
}

/// The rules themselves.
pub(crate) struct Rules;

impl Decide for Rules {
    fn decide(&self, rows: &WorkingSet, message: &NewMessage) -> Result<Decision, NotLoaded> {
        let op: Op = protocol::wire::decode(&message.body).expect("test operations are well formed");
        decide(rows, message, op)
    }
}

fn decide(rows: &WorkingSet, message: &NewMessage, op: Op) -> Result<Decision, NotLoaded> {
    let done = |puts| Ok(Decision::done(reply("done"), puts));
    let missing = |what: &str| Ok(Decision::rejected(Problem::not_found(what)));
    match op {
        Op::Open { account, credit_fen } => done(vec![Put::Account(account_row(account, credit_fen))]),
        Op::Credit { account: n, fen } => match rows.account(&account(n))? {
            None => missing("account"),
            Some(state) => {
                let mut row = state.account.clone();
                row.credit_fen += Fen(fen);
                let answer = reply(row.credit_fen.0.to_string());
                Ok(Decision::done(answer, vec![Put::Account(row)]))
            }
        },
        Op::Bill { account, month, amount_fen, paid_fen } => {
            let (head, detail) = bill_row(account, month, amount_fen, paid_fen);
            let mut puts = vec![Put::Bill(head, detail)];
            puts.extend(posting(message, PostingKind::Bill, account, amount_fen));
            done(puts)
        }
        Op::Paid { account, month, paid_fen } => {
            // With a row before it that is fine, so that the whole decision must be taken back.
            let good = Put::Session(session_row(99, 7));
            done(vec![good, Put::BillPaid { bill: bill(account, month), paid_fen: Fen(paid_fen) }])
        }
        Op::Bind { account: n, customer: c, since_ms } => {
            let body = protocol::wire::encode(&Op::Bound { account: n, customer: c, since_ms });
            let child = Child { bucket: customer(c).bucket(), code: CODE, version: 1, body };
            let puts = vec![Put::Holder { account: account(n), customer: customer(c), since_ms }];
            Ok(Decision { children: vec![child.clone(), child], ..Decision::done(reply("bound"), puts) })
        }
        Op::Bound { account: n, customer: c, since_ms } => {
            done(vec![Put::CustomerAccount { customer: customer(c), account: account(n), since_ms }])
        }
        Op::Unbind { account: n, customer: c } => {
            let (account, customer) = (account(n), customer(c));
            done(vec![Put::HolderGone { account, customer }, Put::CustomerAccountGone { customer, account }])
        }
        Op::Payee { account: n, customer: c, asked_ms } => {
            let payee = Payee { account: account(n), asked_ms };
            done(vec![Put::Payee { customer: customer(c), payee }])
        }
        Op::ForgetPayees { customer: c } => done(vec![Put::PayeesGone { customer: customer(c) }]),
        Op::Person { customer: c, codes } => done(vec![Put::Person(person_row(c, codes))]),
        Op::Session { session: n } => {
            let generation = rows.session(&session(n))?.map_or(0, |s| s.generation + 1);
            done(vec![Put::Session(session_row(n, generation))])
        }
        Op::Code { phone: n, challenge: c } => code(rows, message, n, c),
        Op::Order { payment: n, account: a, fen } => done(vec![Put::Payment(Payment {
            id: payment(n),
            account: account(a),
            customer: customer(1),
            amount_fen: Fen(fen),
            provider: "provider-sim".into(),
            created_ms: message.origin.accepted_ms,
            expires_ms: message.origin.accepted_ms + 1,
            mandate: None,
            failure: None,
            refunds: Vec::new(),
            settled: None,
        })]),
        Op::Settle { payment: n, transaction } => settle(rows, message, n, transaction, true),
        Op::SettleBlindly { payment: n, transaction } => settle(rows, message, n, transaction, false),
        Op::Delivered { push: n, delivered } => done(vec![Put::PushDone { id: push(n), delivered }]),
        Op::Readings { account: n, day } => {
            let date = jiff::civil::date(2026, 1, day);
            done(vec![Put::Readings { account: account(n), date, packed: vec![day as u8; 40] }])
        }
        Op::WrongProof { account: n } => match rows.account(&account(n))? {
            None => missing("account"),
            Some(state) => {
                let mut row = state.account.clone();
                row.wrong_proofs += 1;
                let problem = Problem::new(Code::ProofWrong, row.wrong_proofs.to_string());
                Ok(Decision { puts: vec![Put::Account(row)], ..Decision::rejected(problem) })
            }
        },
        Op::Look { account: a, customer: c, phone: p, payment: n } => {
            let seen = (
                rows.account(&account(a))?,
                rows.bills(&account(a))?,
                rows.customer(&customer(c))?,
                rows.identity(&format!("phone:{}", phone(p)))?,
                rows.payment(&payment(n))?,
                rows.transaction(&("provider-sim".into(), n.to_string()))?,
                rows.session(&session(c))?,
                rows.challenge(&challenge(p))?,
                rows.payees(&customer(c))?,
                rows.person(&customer(c))?,
                rows.sessions_of(&customer(c))?,
            );
            Ok(Decision::done(reply(blake3::hash(format!("{seen:?}").as_bytes()).to_string()), Vec::new()))
        }
        Op::Panic { account: n } => {
            let state = rows.account(&account(n))?;
            panic!("no rule for {}", state.map_or("nobody", |s| s.account.holder.as_str()))
        }
        Op::Ask { accounts } => {
            let found: Result<Vec<_>, _> = (0..accounts).map(|n| rows.account(&account(n))).collect();
            Ok(Decision::done(reply(found?.iter().flatten().count().to_string()), Vec::new()))
        }
        Op::AskForEver => Err(NotLoaded(gridesk_storage::working_set::Key::Account(account(
            message.origin.accepted_ms % 1000,
        )))),
    }
}

fn session_row(n: u64, generation: u32) -> Session {
    Session {
        id: session(n),
        customer: customer(n),
        generation,
        expires_ms: 1 << 40,
        ended: generation > 2,
        begun_ms: n,
        used_ms: u64::from(generation),
        channel: n.is_multiple_of(2).then_some(Channel::Hall),
    }
}

/// What is held about a customer, as `Op::Person` sets it.
pub(crate) fn person_row(n: u64, codes: u32) -> Person {
    Person {
        customer: customer(n),
        phone: n.is_multiple_of(2).then(|| phone(n).parse().unwrap()),
        since_ms: n,
        name: format!("李{n}"),
        language: n.is_multiple_of(3).then_some(Language::En),
        elder: n.is_multiple_of(2),
        notices: Notices { outage: false, ..Notices::default() },
        last_code_ms: 5,
        codes,
        code_window_ms: 6,
        gone_ms: (codes > 3).then_some(7),
    }
}

fn posting(message: &NewMessage, kind: PostingKind, account_n: u64, fen: i64) -> Option<Put> {
    let account = account(account_n).number();
    let entries = vec![
        Entry { ledger_account: LedgerAccount::Receivable { account }, amount_fen: Fen(fen) },
        Entry { ledger_account: LedgerAccount::Revenue, amount_fen: Fen(-fen) },
    ];
    let posting = Posting::new(kind, entries).ok()?;
    Some(Put::Posting { at_ms: message.origin.accepted_ms, text: format!("{account}"), posting })
}

fn code(rows: &WorkingSet, message: &NewMessage, n: u64, c: u64) -> Result<Decision, NotLoaded> {
    let identity = format!("phone:{}", phone(n));
    let codes = rows.identity(&identity)?.map_or(0, |row| row.codes) + 1;
    let attempts = rows.challenge(&challenge(c))?.map_or(0, |row| row.attempts + 1);
    let body = PushBody::OneTimeCode {
        phone: phone(n).parse().unwrap(),
        code: "123456".parse().unwrap(),
        purpose: CodePurpose::LogIn,
        expires_in_s: 300,
        language: Language::Zh,
    };
    let challenge = Challenge {
        id: challenge(c),
        phone: phone(n).parse().unwrap(),
        purpose: CodePurpose::BindAccount,
        account: Some(account(n)),
        expires_ms: 9,
        attempts,
        used: codes > 3,
    };
    let at = message.origin.accepted_ms;
    let identity = Identity {
        identity,
        customer: (codes > 1).then(|| customer(n)),
        last_code_ms: at,
        codes,
        code_window_ms: 4,
    };
    let puts = vec![Put::Identity(identity), Put::Challenge(challenge), Put::Push { id: push(c), body }];
    Ok(Decision::done(reply(codes.to_string()), puts))
}

fn settle(
    rows: &WorkingSet,
    message: &NewMessage,
    n: u64,
    transaction: u64,
    look: bool,
) -> Result<Decision, NotLoaded> {
    let key = ("provider-sim".to_owned(), transaction.to_string());
    if look && rows.transaction(&key)?.is_some() {
        return Ok(Decision::rejected(Problem::new(Code::Conflict, "known")));
    }
    let Some(row) = rows.payment(&payment(n))? else {
        return Ok(Decision::rejected(Problem::not_found("payment")));
    };
    let Some(state) = rows.account(&row.account)? else {
        return Ok(Decision::rejected(Problem::not_found("account")));
    };
    let (mut rest, mut puts, mut parts) = (row.amount_fen, Vec::new(), Vec::new());
    for bill in &state.open_bills {
        let part = Fen(rest.0.min(bill.open_fen().0));
        if part.0 > 0 {
            puts.push(Put::BillPaid { bill: bill.id, paid_fen: bill.paid_fen + part });
            parts.push(BillPart { bill: bill.id, amount_fen: part });
            rest -= part;
        }
    }
    let mut settled = row.settled.clone().unwrap_or_default();
    settled = Settled {
        paid_fen: settled.paid_fen + row.amount_fen,
        paid_ms: message.origin.accepted_ms,
        transactions: [settled.transactions, vec![key.1.clone()]].concat(),
        bills: [settled.bills, parts].concat(),
        credit_fen: settled.credit_fen + rest,
        late_fees: settled.late_fees,
    };
    let mut account = state.account.clone();
    account.credit_fen += rest;
    puts.push(Put::Account(account));
    puts.push(Put::PaymentSettled { payment: row.id, account: row.account, settled });
    puts.push(Put::ProviderTransaction { provider: key.0, transaction: key.1, payment: row.id });
    let serial = row.account.number() / 10 % 10_000_000_000;
    puts.extend(posting(message, PostingKind::Payment, serial, -row.amount_fen.0));
    Ok(Decision::done(reply(format!("{} to credit", rest.0)), puts))
}
