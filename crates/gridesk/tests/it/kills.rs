//! Processes die at any moment, and nothing that anybody was promised is lost, done twice, or shown older than seen.
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    checker::{At, End, Event, Shown, check},
    world::{Client, Said, World, key, send},
};

const CUSTOMERS: usize = 8;
const TASKS_EACH: usize = 3;
const KILLING_FOR: Duration = Duration::from_secs(25);
const KILLED: [&str; 4] = ["center", "edge", "outer", "inner"];
/// An answer may take this long while everything is being killed and starts again.
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// What all tasks write down.
struct History {
    begun: Instant,
    events: Mutex<Vec<Event>>,
    answers: Mutex<BTreeMap<String, u64>>,
    /// Answers that are neither a success nor a "not now" with when to come again.
    odd: Mutex<Vec<String>>,
    readers: AtomicUsize,
}

impl History {
    fn new() -> Arc<History> {
        Arc::new(History {
            begun: Instant::now(),
            events: Mutex::default(),
            answers: Mutex::default(),
            odd: Mutex::default(),
            readers: AtomicUsize::new(0),
        })
    }

    fn at(&self) -> At {
        self.begun.elapsed()
    }

    fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// Counts an answer, and keeps one that must not be.
    fn count(&self, what: &str, said: &Said) {
        let pending = said.header("gridesk-pending").is_some();
        let name = match said.status {
            0 => "no answer".to_owned(),
            200 if pending => "200 pending".to_owned(),
            status => status.to_string(),
        };
        *self.answers.lock().unwrap().entry(name).or_default() += 1;
        let retry = said.header("retry-after").and_then(|seconds| seconds.parse::<u32>().ok());
        let fine = match said.status {
            0 | 200..=202 | 504 => true,
            503 => retry.is_some(),
            _ => false,
        };
        if !fine {
            self.odd.lock().unwrap().push(format!("{:?} {what}: {} {}", self.at(), said.status, said.text));
        }
    }
}

/// One program of one customer, with a reading of its own.
struct Task {
    history: Arc<History>,
    client: Client,
    account: String,
    reader: usize,
    turn: u64,
}

impl Task {
    fn new(history: &Arc<History>, client: Client, account: &str) -> Task {
        let reader = history.readers.fetch_add(1, Ordering::Relaxed);
        Task { history: history.clone(), client, account: account.to_owned(), reader, turn: reader as u64 }
    }

    /// Orders a payment until it is known to stand; its id and where to pay it.
    async fn order(&mut self, key: &str, amount_fen: i64, wait_s: u32) -> Option<(String, String)> {
        let path = format!("/v1/accounts/{}/payments", self.account);
        let body = json!({ "amount_fen": amount_fen, "provider": "sim-pay" });
        let (at, account) = (self.history.at(), self.account.clone());
        self.history.note(Event::Asked { at, key: key.to_owned(), account });
        let begun = Instant::now();
        let mut wait_s = wait_s;
        while begun.elapsed() < ANSWER_WITHIN {
            let said = self.client.post(&path, key, wait_s, &body).await;
            self.history.count("order", &said);
            match said.status {
                200 | 201 => return Some(self.ordered(key, &said, &said.json)),
                202 => {
                    let seen = said.token();
                    let (at, payment) = (self.history.at(), None);
                    self.history.note(Event::Acknowledged { at, key: key.to_owned(), payment, seen });
                    // By the operation, or by asking for the same again.
                    if self.turn.is_multiple_of(2)
                        && let Some(operation) = said.operation()
                        && let Some(said) = self.applied(operation).await
                    {
                        let result = said.json["result"]["PaymentCreate"].clone();
                        return Some(self.ordered(key, &said, &result));
                    }
                    wait_s = 5;
                }
                _ if said.is_not_now() => pause().await,
                _ => return None,
            }
        }
        None
    }

    fn ordered(&self, key: &str, said: &Said, result: &Value) -> (String, String) {
        let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
        let (payment, at) = (Some(text("payment")), self.history.at());
        self.history.note(Event::Acknowledged { at, key: key.to_owned(), payment, seen: said.token() });
        (text("payment"), text("pay_url"))
    }

    /// Asks for an operation until it is applied.
    async fn applied(&mut self, operation: &str) -> Option<Said> {
        let begun = Instant::now();
        while begun.elapsed() < ANSWER_WITHIN {
            let said = self.read("operation", &format!("/v1/operations/{operation}")).await?;
            match said.json["state"].as_str() {
                Some("accepted") => tokio::time::sleep(Duration::from_millis(10)).await,
                Some("applied") => return Some(said),
                other => {
                    self.history.odd.lock().unwrap().push(format!("{operation} is {other:?}: {}", said.text));
                    return None;
                }
            }
        }
        None
    }

    /// Reads until there is an answer; none where it takes too long or is no success.
    async fn read(&mut self, what: &str, path: &str) -> Option<Said> {
        let begun = Instant::now();
        while begun.elapsed() < ANSWER_WITHIN {
            let said = self.client.get(path).await;
            self.history.count(what, &said);
            if said.status == 200 && said.header("gridesk-pending").is_none() {
                return Some(said);
            }
            if said.status != 200 && !said.is_not_now() {
                return None;
            }
            pause().await;
        }
        None
    }

    async fn read_payment(&mut self, payment: &str) -> Option<Shown> {
        let (begun, asked) = (self.history.at(), self.client.seen.clone());
        let said = self.read("payment", &format!("/v1/payments/{payment}")).await;
        let shown = said.as_ref().map(|said| shown(&said.json));
        let seen = said.map(|said| said.token()).unwrap_or_default();
        let (reader, payment, kept) = (self.reader, payment.to_owned(), shown.clone());
        self.history.note(Event::Payment { begun, reader, asked, seen, payment, shown });
        kept
    }

    /// Reads at once what was said to be done, as another program of the customer would that has seen nothing of it.
    async fn read_as_a_stranger(&mut self, payment: &str) {
        let own = std::mem::take(&mut self.client.seen);
        // A reader that has no memory either.
        let reader = std::mem::replace(&mut self.reader, usize::MAX);
        self.read_payment(payment).await;
        self.reader = reader;
        self.client.seen = own;
    }

    async fn read_payments(&mut self) {
        let (begun, asked) = (self.history.at(), self.client.seen.clone());
        let path = format!("/v1/accounts/{}/payments", self.account);
        let Some(said) = self.read("payments", &path).await else { return };
        let list = said.json["payments"].as_array().unwrap();
        let shown = list.iter().map(|p| p["payment"].as_str().unwrap().to_owned()).collect();
        let (seen, account) = (said.token(), self.account.clone());
        self.history.note(Event::Payments { begun, asked, seen, account, shown });
    }

    async fn read_owed(&mut self) -> Option<i64> {
        let (begun, asked) = (self.history.at(), self.client.seen.clone());
        let said = self.read("balance", &format!("/v1/accounts/{}", self.account)).await?;
        let fen = |name: &str| said.json["balance"][name].as_i64().unwrap();
        let owed_fen = fen("due_fen") - fen("credit_fen");
        let (reader, seen, account, ended) =
            (self.reader, said.token(), self.account.clone(), self.history.at());
        self.history.note(Event::Owed { begun, ended, reader, asked, seen, account, owed_fen });
        Some(owed_fen)
    }

    /// Pays at the provider, which tells of it more than once, and sometimes takes the money twice.
    async fn pay(&mut self, payment: &str, pay_url: &str, amount_fen: i64) {
        let twice = self.turn.is_multiple_of(5);
        for _ in 0..=u8::from(twice) {
            let (at, account) = (self.history.at(), self.account.clone());
            self.history.note(Event::Paying { at, account, amount_fen });
        }
        let how = json!({ "times": 1 + self.turn % 3, "second_debit": twice });
        let said = self.client.settle(payment, pay_url, how).await;
        assert_eq!(said.status, 200, "the provider does not take the money: {said:?}");
        let mut known = HashSet::new();
        for told in said.json["callbacks"].as_array().unwrap() {
            let answer: Value = serde_json::from_str(told["body"].as_str().unwrap()).unwrap_or_default();
            let transaction = told["transaction"].as_str().unwrap().to_owned();
            let status = told["status"].as_u64().unwrap();
            *self.history.answers.lock().unwrap().entry(format!("callback {status}")).or_default() += 1;
            if !matches!(status, 0 | 200 | 503 | 504) {
                self.history.odd.lock().unwrap().push(format!("callback: {told}"));
            }
            // Without the payment it was only accepted.
            if status == 200 && answer["payment"] == payment && known.insert(transaction.clone()) {
                let (at, payment, account) = (self.history.at(), payment.to_owned(), self.account.clone());
                self.history.note(Event::Paid { at, payment, account, transaction, amount_fen });
            }
        }
    }

    async fn turn(&mut self) {
        self.turn += 1;
        let (key, amount_fen) = (key("load"), 100 + i64::try_from(self.turn % 50).unwrap());
        let wait_s = if self.turn.is_multiple_of(3) { 5 } else { 0 };
        let Some((payment, pay_url)) = self.order(&key, amount_fen, wait_s).await else { return };
        self.read_as_a_stranger(&payment).await;
        self.read_payment(&payment).await;
        self.read_payments().await;
        if !self.turn.is_multiple_of(3) {
            self.pay(&payment, &pay_url, amount_fen).await;
            self.read_payment(&payment).await;
            self.read_owed().await;
        }
        match self.turn % 4 {
            0 => _ = self.order(&key, amount_fen, 5).await,
            1 => _ = self.read("bills", &format!("/v1/accounts/{}/bills", self.account)).await,
            _ => {}
        }
    }
}

fn shown(json: &Value) -> Shown {
    let payment = &json["payment"];
    let receipt = &payment["receipt"];
    let fen = |value: &Value| value.as_i64().unwrap_or(0);
    let list = |name: &str| receipt[name].as_array().cloned().unwrap_or_default();
    Shown {
        amount_fen: fen(&payment["amount_fen"]),
        paid_fen: fen(&receipt["paid_fen"]),
        credit_fen: fen(&receipt["credit_fen"]),
        bills_fen: list("bills").iter().chain(&list("late_fees")).map(|part| fen(&part["amount_fen"])).sum(),
        transactions: list("transactions").iter().map(|t| t.as_str().unwrap().to_owned()).collect(),
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_millis(60)).await;
}

/// Numbers that only need to differ.
pub(crate) fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes) % below
}

/// Kills a process every 300 to 900 ms; says how often which.
async fn killer(world: &World) -> BTreeMap<&'static str, (u32, rustix::process::Pid)> {
    let begun = Instant::now();
    let mut kills = BTreeMap::new();
    while begun.elapsed() < KILLING_FOR {
        tokio::time::sleep(Duration::from_millis(300 + random(600))).await;
        let role = KILLED[usize::try_from(random(KILLED.len() as u64)).unwrap()];
        if let Some(pid) = world.kill(role) {
            kills.entry(role).and_modify(|(n, last)| (*n, *last) = (*n + 1, pid)).or_insert((1, pid));
        }
    }
    kills
}

async fn end(world: &World, owners: &mut HashMap<String, Task>, before: &Before) -> End {
    let mut end = End { debits: world.debits(), ..End::default() };
    // The provider tells until it is believed, at growing intervals.
    let deadline = Instant::now() + Duration::from_secs(120);
    for (account, id) in world.stored_payments() {
        let Some(owner) = owners.get_mut(&account).filter(|_| !before.payments.contains(&id)) else {
            continue;
        };
        let debits = end.debits.iter().filter(|(payment, _)| *payment == id).count();
        let mut shown = owner.read_payment(&id).await.expect("a stored payment is shown");
        while shown.transactions.len() < debits && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(200)).await;
            shown = owner.read_payment(&id).await.expect("a stored payment is shown");
        }
        end.payments.push((id, account, shown));
    }
    world.settled(Duration::from_secs(30)).await;
    for (account, owner) in owners {
        let after = owner.read_owed().await.unwrap();
        end.owed_fen.insert(account.clone(), (before.owed_fen[account], after));
    }
    let (sums, paid) = world.ledger().await;
    (end.ledger_sums_fen, end.ledger_paid_fen) = (sums, paid - before.ledger_paid_fen);
    end
}

/// What was there before anything was done.
struct Before {
    payments: HashSet<String>,
    owed_fen: HashMap<String, i64>,
    ledger_paid_fen: i64,
}

/// Customers order, pay and read for as long as `breaking` goes on; then all that they were told is held against what is
/// there. Gives what `breaking` did.
pub(crate) async fn under_load<B: std::fmt::Debug>(world: &World, breaking: impl Future<Output = B>) -> B {
    let history = History::new();
    let mut owners = HashMap::new();
    let mut owed_fen = HashMap::new();
    for phone in world.phones.iter().take(CUSTOMERS) {
        let mut client = world.customer(phone).await;
        let account = client.account().await;
        let mut owner = Task::new(&history, client, &account);
        owed_fen.insert(account.clone(), owner.read_owed().await.unwrap());
        owners.insert(account, owner);
    }
    let payments = world.stored_payments().into_iter().map(|(_, id)| id).collect();
    let before = Before { payments, owed_fen, ledger_paid_fen: world.ledger().await.1 };

    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for owner in owners.values() {
        for _ in 0..TASKS_EACH {
            let mut task = Task::new(&history, owner.client.clone(), &owner.account);
            let stop = stop.clone();
            tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    task.turn().await;
                }
            }));
        }
    }
    let broken = breaking.await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let end = end(world, &mut owners, &before).await;

    let events = history.events.lock().unwrap().clone();
    let verdict = check(&events, &end);
    let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count();
    let acknowledged = events.iter().filter_map(|event| match event {
        Event::Acknowledged { key, .. } => Some(key),
        _ => None,
    });
    println!(
        "{broken:?}; orders acknowledged {}, debits {}, booked while watched {}, reads {}; answers {:?}; lost {}, \
         doubled {}, stale {}, wrong {}",
        acknowledged.collect::<HashSet<_>>().len(),
        end.debits.len(),
        count(|e| matches!(e, Event::Paid { .. })),
        count(|e| matches!(e, Event::Payment { .. } | Event::Payments { .. } | Event::Owed { .. })),
        history.answers.lock().unwrap(),
        verdict.lost.len(),
        verdict.doubled.len(),
        verdict.stale.len(),
        verdict.wrong.len(),
    );
    assert!(verdict.is_clean(), "{verdict:#?}");
    let odd = history.odd.lock().unwrap();
    assert!(odd.is_empty(), "{} answers that must not be: {:#?}", odd.len(), &odd[..odd.len().min(20)]);
    assert!(end.debits.len() > 20, "too little was done to say anything");
    broken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_any_process_under_load_loses_nothing() {
    let world = World::start();
    let kills = under_load(&world, killer(&world)).await;
    for role in KILLED {
        let (_, last) = kills.get(role).unwrap_or_else(|| panic!("{role} was never killed: {kills:?}"));
        let now = world.process_of(role);
        assert!(now.is_some_and(|now| now != *last), "{role} was not started again");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_center_at_each_durable_step() {
    let world = World::start();
    let history = History::new();
    let mut client = world.customer(&world.phones[0]).await;
    let account = client.account().await;
    let mut task = Task::new(&history, client, &account);
    let before: HashSet<_> = world.stored_payments().into_iter().map(|(_, id)| id).collect();
    let path = format!("/v1/accounts/{account}/payments");
    let body = json!({ "amount_fen": 100, "provider": "sim-pay" });
    let mut orders = 0;

    for round in 0..3 {
        // The moment it is accepted.
        let accepted = accept(&mut task, &path, &key("accepted"), &body).await;
        world.kill("center").unwrap();
        let operation = accepted.operation().unwrap().to_owned();
        let said = task.applied(&operation).await.expect("what was accepted is applied");
        let payment = said.json["result"]["PaymentCreate"]["payment"].as_str().unwrap().to_owned();
        task.read_payment(&payment).await.unwrap_or_else(|| panic!("round {round}: applied and not shown"));

        // The moment it is shown as done.
        let done_key = key("done");
        let (payment, pay_url) = task.order(&done_key, 100, 10).await.unwrap();
        world.kill("center").unwrap();
        task.read_payment(&payment).await.expect("done and not shown");
        let again = task.order(&done_key, 100, 10).await.unwrap();
        assert_eq!(again, (payment.clone(), pay_url.clone()));

        // The moment the provider hears that it was taken.
        task.pay(&payment, &pay_url, 100).await;
        world.kill("center").unwrap();
        let shown = task.read_payment(&payment).await.unwrap();
        assert_eq!(shown.paid_fen, 100 * shown.transactions.len() as i64);
        assert!(!shown.transactions.is_empty());

        // Somewhere on the way.
        let way_key = key("way");
        let mut request = task.client.own(reqwest::Method::POST, &path);
        request = request.header("idempotency-key", &way_key).json(&body);
        let asked = tokio::spawn(send(request));
        tokio::time::sleep(Duration::from_micros(random(3_000))).await;
        world.kill("center").unwrap();
        asked.await.unwrap();
        task.order(&way_key, 100, 10).await.expect("the same key, again, is answered");
        orders += 3;
    }
    let stored: Vec<_> = world.stored_payments().into_iter().filter(|(_, id)| !before.contains(id)).collect();
    assert_eq!(stored.len(), orders, "{stored:?}");
    let (sums, _) = world.ledger().await;
    assert!(sums.iter().all(|sum| *sum == 0), "{sums:?}");
    let odd = history.odd.lock().unwrap();
    assert!(odd.is_empty(), "{odd:#?}");
}

/// Sends an order, without waiting, until it is accepted.
async fn accept(task: &mut Task, path: &str, key: &str, body: &Value) -> Said {
    let begun = Instant::now();
    loop {
        let said = task.client.post(path, key, 0, body).await;
        task.history.count("order", &said);
        if said.status == 202 {
            return said;
        }
        assert!(said.is_not_now() && begun.elapsed() < ANSWER_WITHIN, "{said:?}");
        pause().await;
    }
}
