//! Judges a history: was anything that somebody was promised lost, done twice, or shown older than it had been seen.
//!
//! It knows nothing of the system but what was asked, what was answered and when, and what was there in the end.
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use protocol::Token;

/// A moment: the time since the test began.
pub(crate) type At = Duration;

/// One thing that somebody asked, was told or saw.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A payment was ordered, under a key of its own.
    Asked { at: At, key: String, account: String },
    /// The order was answered: accepted, or (`payment` known) done and visible to everybody.
    Acknowledged { at: At, key: String, payment: Option<String>, seen: Token },
    /// A customer is about to pay at the provider, once.
    Paying { at: At, account: String, amount_fen: i64 },
    /// The provider's message was answered with its result: visible to everybody.
    Paid { at: At, payment: String, account: String, transaction: String, amount_fen: i64 },
    /// A payment was read; `None`: there is none.
    Payment { begun: At, reader: usize, asked: Token, seen: Token, payment: String, shown: Option<Shown> },
    /// An account's payments were read: their ids, newest first, at most 50.
    Payments { begun: At, asked: Token, seen: Token, account: String, shown: Vec<String> },
    /// What an account owes, less its credit, was read.
    Owed { begun: At, ended: At, reader: usize, asked: Token, seen: Token, account: String, owed_fen: i64 },
}

/// What a payment's page shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shown {
    pub(crate) amount_fen: i64,
    pub(crate) paid_fen: i64,
    pub(crate) credit_fen: i64,
    pub(crate) bills_fen: i64,
    pub(crate) transactions: Vec<String>,
}

/// What is there when all is quiet.
#[derive(Clone, Debug, Default)]
pub(crate) struct End {
    /// The payments made since the beginning, by id: account, and what is shown of them.
    pub(crate) payments: Vec<(String, String, Shown)>,
    /// Each account: what it owed, less its credit, before and after.
    pub(crate) owed_fen: BTreeMap<String, (i64, i64)>,
    /// What the provider took: payment and transaction.
    pub(crate) debits: Vec<(String, String)>,
    /// The ledger's sum of each shard.
    pub(crate) ledger_sums_fen: Vec<i64>,
    /// What the ledger says came from the provider since the beginning.
    pub(crate) ledger_paid_fen: i64,
}

/// What is wrong; nothing, where all is well.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    pub(crate) stale: Vec<String>,
    /// Sums that do not add up, and whatever else cannot be.
    pub(crate) wrong: Vec<String>,
}

impl Verdict {
    pub(crate) fn is_clean(&self) -> bool {
        *self == Verdict::default()
    }
}

/// The most payments a list shows.
const LIST_MOST: usize = 50;

pub(crate) fn check(history: &[Event], end: &End) -> Verdict {
    let mut verdict = Verdict::default();
    let orders = check_orders(history, end, &mut verdict);
    check_debits(history, end, &mut verdict);
    check_sums(end, &mut verdict);
    check_tokens(history, &mut verdict);
    check_reads(history, end, &orders, &mut verdict);
    verdict
}

/// What is known of an order.
#[derive(Default)]
struct Order {
    account: String,
    /// When it was first asked for.
    asked: At,
    payment: Option<String>,
    /// Each answer: when, what it promised, and whether everybody must see it from then on.
    answers: Vec<(At, Token, bool)>,
}

impl Order {
    /// Whether it was surely taken before another: a full list must not show it without that other.
    fn before(&self, other: &Order) -> bool {
        self.answers.first().is_some_and(|(at, ..)| *at + Duration::from_millis(2) < other.asked)
    }
}

/// Every key that was answered is one payment, and there is no payment without a key.
fn check_orders(history: &[Event], end: &End, verdict: &mut Verdict) -> HashMap<String, Order> {
    let mut orders: HashMap<String, Order> = HashMap::new();
    for event in history {
        match event {
            Event::Asked { at, key, account } => {
                let first = || Order { account: account.clone(), asked: *at, ..Order::default() };
                orders.entry(key.clone()).or_insert_with(first);
            }
            Event::Acknowledged { at, key, payment, seen } => {
                let order = orders.entry(key.clone()).or_default();
                order.answers.push((*at, seen.clone(), payment.is_some()));
                match (&order.payment, payment) {
                    (Some(before), Some(now)) if before != now => {
                        verdict.doubled.push(format!("{key} was {before}, then {now}"));
                    }
                    (None, Some(_)) => order.payment.clone_from(payment),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    let mut stored: BTreeMap<&str, &str> = BTreeMap::new();
    for (id, account, _) in &end.payments {
        if stored.insert(id, account).is_some() {
            verdict.doubled.push(format!("{id} is there twice"));
        }
    }
    let mut keys: BTreeMap<&str, &str> = BTreeMap::new();
    for (key, order) in &orders {
        let Some(payment) = &order.payment else {
            let what = if order.answers.is_empty() {
                "was never answered"
            } else {
                "was accepted and has no result"
            };
            verdict.lost.push(format!("{key} {what}"));
            continue;
        };
        match stored.get(payment.as_str()) {
            None => verdict.lost.push(format!("{payment} of {key} is not there")),
            Some(account) if *account != order.account => {
                verdict
                    .wrong
                    .push(format!("{payment} of {key} is of account {account}, not {}", order.account));
            }
            Some(_) => {}
        }
        if let Some(other) = keys.insert(payment, key) {
            verdict.wrong.push(format!("{other} and {key} are both {payment}"));
        }
    }
    for id in stored.keys().filter(|id| !keys.contains_key(*id)) {
        verdict.doubled.push(format!("{id} is there, and no key asked for it"));
    }
    orders
}

/// Every debit is in one receipt, once, and every receipt is its debits.
fn check_debits(history: &[Event], end: &End, verdict: &mut Verdict) {
    let taken: BTreeMap<&str, &str> =
        end.debits.iter().map(|(payment, t)| (t.as_str(), payment.as_str())).collect();
    let mut listed = BTreeSet::new();
    for (id, _, shown) in &end.payments {
        for transaction in &shown.transactions {
            if !listed.insert(transaction.as_str()) {
                verdict
                    .doubled
                    .push(format!("transaction {transaction} is in receipts twice, once in that of {id}"));
            }
            if taken.get(transaction.as_str()) != Some(&id.as_str()) {
                verdict.wrong.push(format!("the receipt of {id} names {transaction}, which is not its"));
            }
        }
        let debits = end.debits.iter().filter(|(payment, _)| payment == id).count() as i64;
        if shown.paid_fen != debits * shown.amount_fen {
            let list = if shown.paid_fen > debits * shown.amount_fen {
                &mut verdict.doubled
            } else {
                &mut verdict.lost
            };
            list.push(format!(
                "{id}: {debits} debits of {} fen, {} fen are paid",
                shown.amount_fen, shown.paid_fen
            ));
        }
        if shown.bills_fen + shown.credit_fen != shown.paid_fen {
            verdict.wrong.push(format!("{id}: {shown:?} does not add up"));
        }
    }
    for (transaction, payment) in &taken {
        if !listed.contains(transaction) {
            verdict.lost.push(format!("transaction {transaction} of {payment} is in no receipt"));
        }
    }
    for event in history {
        if let Event::Paid { payment, transaction, .. } = event
            && taken.get(transaction.as_str()) != Some(&payment.as_str())
        {
            verdict
                .wrong
                .push(format!("{transaction} of {payment} was acknowledged, and the provider knows it not"));
        }
    }
}

/// Accounts moved by what was taken, and so did the ledger.
fn check_sums(end: &End, verdict: &mut Verdict) {
    let mut taken_fen: BTreeMap<&str, i64> = BTreeMap::new();
    for (payment, _) in &end.debits {
        if let Some((_, account, shown)) = end.payments.iter().find(|(id, ..)| id == payment) {
            *taken_fen.entry(account).or_default() += shown.amount_fen;
        }
    }
    for (account, (before, after)) in &end.owed_fen {
        let taken = taken_fen.get(account.as_str()).copied().unwrap_or(0);
        if before - after != taken {
            verdict.wrong.push(format!("{account} moved by {} fen, {taken} were taken", before - after));
        }
    }
    if end.ledger_sums_fen.iter().any(|sum| *sum != 0) {
        verdict.wrong.push(format!("the ledger's shards sum to {:?}", end.ledger_sums_fen));
    }
    let taken: i64 = taken_fen.values().sum();
    if end.ledger_paid_fen != taken {
        verdict
            .wrong
            .push(format!("the ledger took in {} fen, the provider sent {taken}", end.ledger_paid_fen));
    }
}

/// No answer is of an earlier position than its reader had seen of that lane.
fn check_tokens(history: &[Event], verdict: &mut Verdict) {
    for event in history {
        let (Event::Payment { asked, seen, .. }
        | Event::Payments { asked, seen, .. }
        | Event::Owed { asked, seen, .. }) = event
        else {
            continue;
        };
        if seen.positions().any(|at| asked.get(at.lane).is_some_and(|wanted| at < wanted)) {
            verdict.stale.push(format!("answered older than its token: {event:?}"));
        }
    }
}

/// Whether `seen` includes all that `promised` stands for.
fn includes(seen: &Token, promised: &Token) -> bool {
    !promised.is_empty() && promised.positions().all(|at| seen.get(at.lane).is_some_and(|seen| seen >= at))
}

fn check_reads(history: &[Event], end: &End, orders: &HashMap<String, Order>, verdict: &mut Verdict) {
    let mut owed_before: HashMap<(usize, &str), i64> = HashMap::new();
    let mut debits_before: HashMap<(usize, &str), usize> = HashMap::new();
    let by_payment: HashMap<&str, &Order> =
        orders.values().filter_map(|order| Some((order.payment.as_deref()?, order))).collect();
    let must_show = |order: &Order, begun: At, asked: &Token| {
        order.answers.iter().any(|(at, seen, done)| (*done && *at < begun) || includes(asked, seen))
    };
    for event in history {
        match event {
            Event::Payment { begun, reader, asked, payment, shown, .. } => {
                let order = by_payment.get(payment.as_str());
                let Some(shown) = shown else {
                    if order.is_some_and(|order| must_show(order, *begun, asked)) {
                        verdict.stale.push(format!("{payment} was promised and is not shown: {event:?}"));
                    }
                    continue;
                };
                for paid in history {
                    if let Event::Paid { at, payment: of, transaction, .. } = paid
                        && (of == payment && at < begun && !shown.transactions.contains(transaction))
                    {
                        verdict
                            .stale
                            .push(format!("{transaction} was booked at {at:?} and is not shown: {event:?}"));
                    }
                }
                let before = debits_before.insert((*reader, payment), shown.transactions.len());
                if before.is_some_and(|before| before > shown.transactions.len()) {
                    verdict.stale.push(format!("fewer debits than the same reader saw before: {event:?}"));
                }
            }
            Event::Payments { begun, asked, account, shown, .. } => {
                let full = shown.len() >= LIST_MOST;
                for order in orders.values().filter(|o| o.account == *account && must_show(o, *begun, asked))
                {
                    let Some(payment) = order.payment.as_ref().filter(|payment| !shown.contains(payment))
                    else {
                        continue;
                    };
                    if !full
                        || shown.iter().any(|id| by_payment.get(id.as_str()).is_some_and(|o| o.before(order)))
                    {
                        verdict.stale.push(format!("{payment} was promised and is not listed: {event:?}"));
                    }
                }
            }
            Event::Owed { begun, ended, reader, account, owed_fen, .. } => {
                let Some((initial, _)) = end.owed_fen.get(account) else { continue };
                let (mut least, mut most) = (0, 0);
                for other in history {
                    match other {
                        Event::Paid { at, account: of, amount_fen, .. } if of == account && at < begun => {
                            least += amount_fen;
                        }
                        Event::Paying { at, account: of, amount_fen, .. } if of == account && at <= ended => {
                            most += amount_fen;
                        }
                        _ => {}
                    }
                }
                let moved = initial - owed_fen;
                if moved < least {
                    verdict.stale.push(format!(
                        "{account} shows {moved} fen paid where {least} were booked: {event:?}"
                    ));
                }
                if moved > most {
                    verdict.doubled.push(format!("{account} shows {moved} fen paid of {most}: {event:?}"));
                }
                let before = owed_before.insert((*reader, account), *owed_fen);
                if before.is_some_and(|before| before < *owed_fen) {
                    verdict.stale.push(format!("more is owed than the same reader saw before: {event:?}"));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{LaneId, Position};

    use super::*;

    fn token(sequence: u64) -> Token {
        Token::at(Position { lane: LaneId(0), generation: 1, sequence })
    }

    fn ms(ms: u64) -> At {
        Duration::from_millis(ms)
    }

    fn own(text: &str) -> String {
        text.to_owned()
    }

    fn shown(transactions: &[&str]) -> Shown {
        let paid_fen = transactions.len() as i64 * 100;
        Shown {
            amount_fen: 100,
            paid_fen,
            credit_fen: paid_fen,
            bills_fen: 0,
            transactions: transactions.iter().map(|t| own(t)).collect(),
        }
    }

    /// One payment, ordered and retried, paid, read; another that is open.
    fn good() -> (Vec<Event>, End) {
        let history = vec![
            Event::Asked { at: ms(0), key: own("k1"), account: own("a") },
            Event::Acknowledged { at: ms(1), key: own("k1"), payment: None, seen: token(5) },
            Event::Acknowledged { at: ms(2), key: own("k1"), payment: Some(own("p1")), seen: token(5) },
            Event::Asked { at: ms(2), key: own("k2"), account: own("a") },
            Event::Acknowledged { at: ms(3), key: own("k2"), payment: Some(own("p2")), seen: token(6) },
            Event::Paying { at: ms(4), account: own("a"), amount_fen: 100 },
            Event::Paid {
                at: ms(6),
                payment: own("p1"),
                account: own("a"),
                transaction: own("t1"),
                amount_fen: 100,
            },
            payment_read(ms(7), Some(shown(&["t1"]))),
            Event::Payments {
                begun: ms(8),
                asked: token(6),
                seen: token(7),
                account: own("a"),
                shown: vec![own("p2"), own("p1")],
            },
            owed_read(ms(9), 900),
        ];
        let end = End {
            payments: vec![(own("p1"), own("a"), shown(&["t1"])), (own("p2"), own("a"), shown(&[]))],
            owed_fen: BTreeMap::from([(own("a"), (1000, 900))]),
            debits: vec![(own("p1"), own("t1"))],
            ledger_sums_fen: vec![0, 0],
            ledger_paid_fen: 100,
        };
        (history, end)
    }

    fn payment_read(begun: At, shown: Option<Shown>) -> Event {
        Event::Payment { begun, reader: 1, asked: token(6), seen: token(7), payment: own("p1"), shown }
    }

    fn owed_read(begun: At, owed_fen: i64) -> Event {
        let ended = begun + ms(1);
        Event::Owed { begun, ended, reader: 1, asked: token(7), seen: token(7), account: own("a"), owed_fen }
    }

    /// The verdict's numbers of lost, doubled, stale and wrong after a change to the good history.
    fn judged(change: impl FnOnce(&mut Vec<Event>, &mut End)) -> [usize; 4] {
        let (mut history, mut end) = good();
        change(&mut history, &mut end);
        let Verdict { lost, doubled, stale, wrong } = check(&history, &end);
        [lost.len(), doubled.len(), stale.len(), wrong.len()]
    }

    #[test]
    fn a_good_history_is_clean() {
        let (history, end) = good();
        assert!(check(&history, &end).is_clean(), "{:?}", check(&history, &end));
    }

    #[test]
    fn a_lost_write_is_seen() {
        assert_eq!(judged(|_, end| _ = end.payments.pop()), [1, 0, 0, 0]);
        let accepted = |history: &mut Vec<Event>, _: &mut End| {
            history.push(Event::Asked { at: ms(15), key: own("k3"), account: own("a") });
            history.push(Event::Acknowledged { at: ms(20), key: own("k3"), payment: None, seen: token(9) });
        };
        assert_eq!(judged(accepted), [1, 0, 0, 0]);
        // Taken by the provider, in no receipt, booked nowhere.
        assert_eq!(judged(|_, end| end.payments[0].2 = shown(&[]))[0], 2);
    }

    #[test]
    fn a_doubled_write_is_seen() {
        let twice = |_: &mut Vec<Event>, end: &mut End| end.payments.push((own("p3"), own("a"), shown(&[])));
        assert_eq!(judged(twice), [0, 1, 0, 0]);
        let booked_twice = |_: &mut Vec<Event>, end: &mut End| {
            (end.payments[0].2.paid_fen, end.payments[0].2.credit_fen) = (200, 200);
        };
        assert_eq!(judged(booked_twice), [0, 1, 0, 0]);
        let two_ids = |history: &mut Vec<Event>, _: &mut End| {
            let (key, payment) = (own("k1"), Some(own("p9")));
            history.push(Event::Acknowledged { at: ms(30), key, payment, seen: token(9) });
        };
        assert_eq!(judged(two_ids), [0, 1, 0, 0]);
        assert_eq!(judged(|history, _| history.push(owed_read(ms(40), 800))), [0, 1, 0, 0]);
    }

    #[test]
    fn a_stale_read_is_seen() {
        assert_eq!(judged(|h, _| h.push(payment_read(ms(10), None))), [0, 0, 1, 0]);
        // Booked before the read began, and the same reader had seen it.
        assert_eq!(judged(|h, _| h.push(payment_read(ms(10), Some(shown(&[]))))), [0, 0, 2, 0]);
        assert_eq!(judged(|h, _| h.push(owed_read(ms(12), 1000))), [0, 0, 2, 0]);
        let list = |asked: u64, shown: &[&str]| Event::Payments {
            begun: ms(2),
            asked: token(asked),
            seen: token(asked),
            account: own("a"),
            shown: shown.iter().map(|id| own(id)).collect(),
        };
        // Not yet told to everybody, but its token was presented.
        assert_eq!(judged(|h, _| h.push(list(6, &["p1"]))), [0, 0, 1, 0]);
        assert_eq!(judged(|h, _| h.push(list(5, &["p1"]))), [0, 0, 0, 0]);
        let older = Event::Payment {
            begun: ms(1),
            reader: 8,
            asked: token(6),
            seen: token(4),
            payment: own("p2"),
            shown: Some(shown(&[])),
        };
        assert_eq!(judged(|h, _| h.push(older)), [0, 0, 1, 0]);
    }

    #[test]
    fn a_full_list_may_leave_out_only_the_oldest() {
        let order = |history: &mut Vec<Event>, n: u64| {
            let (key, payment) = (format!("m{n}"), Some(format!("q{n}")));
            history.push(Event::Asked { at: ms(100 + 10 * n), key: key.clone(), account: own("b") });
            history.push(Event::Acknowledged { at: ms(105 + 10 * n), key, payment, seen: token(100 + n) });
        };
        let listed = |left_out: u64| {
            move |history: &mut Vec<Event>, end: &mut End| {
                (0..51).for_each(|n| order(history, n));
                end.payments.extend((0..51).map(|n| (format!("q{n}"), own("b"), shown(&[]))));
                history.push(Event::Payments {
                    begun: ms(1_000),
                    asked: token(200),
                    seen: token(200),
                    account: own("b"),
                    shown: (0..51).filter(|n| *n != left_out).map(|n| format!("q{n}")).collect(),
                });
            }
        };
        assert_eq!(judged(listed(0)), [0, 0, 0, 0]);
        assert_eq!(judged(listed(30)), [0, 0, 1, 0]);
    }

    #[test]
    fn sums_that_do_not_add_up_are_seen() {
        assert_eq!(judged(|_, end| end.ledger_sums_fen[1] = 1), [0, 0, 0, 1]);
        assert_eq!(judged(|_, end| end.ledger_paid_fen = 99), [0, 0, 0, 1]);
        assert_eq!(judged(|_, end| _ = end.owed_fen.insert(own("a"), (1000, 901))), [0, 0, 0, 1]);
        assert_eq!(judged(|_, end| end.payments[0].2.credit_fen = 1), [0, 0, 0, 1]);
    }
}
