//! What a demonstration household has behind it: readings, bills, payments, and its books.
//!
//! Readings of thirteen full months and of the present one up to yesterday: enough for charts of a year, and for
//! comparing this month with the same of last year. Money moves as the rules move it: the same postings, payments and
//! transactions that a real payment through the provider `sim-pay` leaves.
use domain::{
    billing::{BillInput, bill},
    calendar::Month,
    demo::{Climate, HouseholdShape},
    ledger::{self, LedgerAccount, OpenBill},
    money::{Fen, Wh},
    readings::DayReadings,
    tariff::{Tariff, TariffBook, TariffVersion, TierPeriod},
    usage::UsageMonth,
};
use jiff::{civil::Date, tz::Offset};
use protocol::{BillId, PaymentId, catalogue::replies::BillPart};
use storage::rows::{Account, BillHead, Payment, Put, Settled};

use super::{
    DemoError,
    household::{Dice, FIRST_HOME, Household, Standing},
};
use crate::import::issue::issue;

/// How many full months there are before the present one.
const FULL_MONTHS: usize = 13;
/// Through whom everything was paid.
const PROVIDER: &str = "sim-pay";
/// How long before it was paid a payment was ordered, and how long it could have been paid.
const ORDERED_MS: u64 = 90 * 1000;
const ORDER_TTL_MS: u64 = 30 * 60 * 1000;

/// All rows of a household that live with its account, in the order in which they came about.
pub(super) fn rows(household: &Household, today: Date, tariffs: &TariffBook) -> Result<Vec<Put>, DemoError> {
    let tariff = tariffs.get(household.tariff.as_str()).ok_or(DemoError::NoTariff)?;
    let months = full_months(today);
    let first = months[0];
    let shape = shape(household, tariff, &months);
    let mut history = History { household, today, puts: Vec::with_capacity(512), credit_fen: Fen::ZERO };

    let mut used_wh: Wh = energy(&shape, first.january(), first);
    for month in months {
        if month == month.january() {
            used_wh = Wh(0);
        }
        let days: Vec<DayReadings> = month.dates().map(|date| shape.day(date)).collect();
        let usage = UsageMonth::from_days(month, &days).map_err(domain::billing::BillingError::from)?;
        let terms = household.terms();
        let draft = bill(&BillInput { tariff, usage: &usage, used_before_wh: used_wh, terms })?;
        used_wh += draft.energy_wh;
        history.readings(days);
        let (head, detail) = issue(household.account, tariff, &terms, draft, None);
        history.issued(head, detail)?;
    }
    history.readings(Month::of(today).dates().take_while(|date| *date < today).map(|date| shape.day(date)));
    history.account(first)?;
    Ok(history.puts)
}

/// When the log-ins' accounts were bound, Unix ms: before the first reading.
pub(super) fn bound_ms(today: Date) -> Result<u64, DemoError> {
    at_ms(full_months(today)[0].first_day(), 9, 0)
}

/// The full months before the present one, oldest first.
fn full_months(today: Date) -> [Month; FULL_MONTHS] {
    let mut month = Month::of(today);
    let mut months = [month; FULL_MONTHS];
    for slot in months.iter_mut().rev() {
        month = month.prev();
        *slot = month;
    }
    months
}

/// A moment in China, Unix ms.
fn at_ms(date: Date, hour: i8, minute: i8) -> Result<u64, DemoError> {
    let time =
        Offset::constant(8).to_timestamp(date.at(hour, minute, 0, 0)).map_err(|_| DemoError::Today(date))?;
    u64::try_from(time.as_millisecond()).map_err(|_| DemoError::Today(date))
}

/// The energy of the months from one to before another.
fn energy(shape: &HouseholdShape, from: Month, before: Month) -> Wh {
    let months =
        std::iter::successors(Some(from), |month| Some(month.next())).take_while(|month| *month < before);
    months.flat_map(Month::dates).flat_map(|date| shape.hours(date)).sum()
}

/// How the household uses energy.
fn shape(household: &Household, tariff: &Tariff, months: &[Month; FULL_MONTHS]) -> HouseholdShape {
    let mut dice = Dice::new(household.seed, household.n, "shape");
    let seed = dice.roll();
    if household.n == FIRST_HOME {
        return crossing(household, tariff, months[FULL_MONTHS - 1], seed);
    }
    let typical = HouseholdShape::typical(household.place.division, seed);
    if household.large {
        // Five to seven people: half as much again, up to two and a half times.
        let annual_wh = Wh(typical.annual_wh().0 * (1536 + dice.below(1024) as i64) / 1024);
        return HouseholdShape::new(annual_wh, 260, 40, seed, Climate::of_division(household.place.division));
    }
    typical
}

/// A household of such a size that its newest bill is the one that crosses from the first tier into the second.
fn crossing(household: &Household, tariff: &Tariff, newest: Month, seed: u64) -> HouseholdShape {
    const TRIED_WH: Wh = Wh::from_kwh(10_000);
    let climate = Climate::of_division(household.place.division);
    let sized = |annual_wh: Wh| HouseholdShape::new(annual_wh, 200, 120, seed, climate);
    let Some(version) = tariff.version_named(newest.first_day()) else { return sized(TRIED_WH) };
    let tried = sized(TRIED_WH);
    let before = match version.tier_period {
        TierPeriod::Year => energy(&tried, newest.january(), newest),
        TierPeriod::Month => Wh(0),
    };
    // The limit is to lie three quarters into the month: even in January the third tier is then out of reach. Use is as
    // good as proportional to the size.
    let at_limit = before + Wh(energy(&tried, newest, newest.next()).0 * 3 / 4);
    let limit = first_limit(version, household, newest);
    sized(Wh((i128::from(TRIED_WH.0) * i128::from(limit.0) / i128::from(at_limit.0.max(1))) as i64))
}

fn first_limit(version: &TariffVersion, household: &Household, month: Month) -> Wh {
    let terms = household.terms();
    let limits = version.limits_wh(month, terms.household, terms.months_served(month));
    limits.first().copied().unwrap_or(Wh::from_kwh(3000))
}

/// The rows so far.
struct History<'a> {
    household: &'a Household,
    today: Date,
    puts: Vec<Put>,
    credit_fen: Fen,
}

impl History<'_> {
    fn readings(&mut self, days: impl IntoIterator<Item = DayReadings>) {
        let account = self.household.account;
        self.puts.extend(days.into_iter().map(|day| Put::Readings {
            account,
            date: day.date,
            packed: day.pack(),
        }));
    }

    /// Issues a bill and, where this household does, pays it.
    fn issued(&mut self, mut head: BillHead, detail: storage::rows::BillDetail) -> Result<(), DemoError> {
        if let Some(posting) = ledger::post_bill(head.id.account.number(), head.amount_fen)? {
            let (at_ms, text) = (at_ms(head.issued_on, 2, 0)?, format!("bill {}", head.id));
            self.puts.push(Put::Posting { at_ms, text, posting });
        }
        if head.amount_fen > Fen::ZERO && self.pays(&head) {
            self.pay(&mut head)?;
        }
        self.puts.push(Put::Bill(head, detail));
        Ok(())
    }

    /// Whether a bill is paid by today. One that was issued today cannot be yet.
    fn pays(&self, head: &BillHead) -> bool {
        let newest = Month::of(self.today).prev();
        let first_open = match self.household.standing {
            Standing::Paid | Standing::Credit => newest.next(),
            Standing::NewestOpen => newest,
            Standing::Overdue => newest.prev(),
        };
        head.id.month < first_open && head.issued_on < self.today
    }

    /// Pays a bill as `rules/payment` books it.
    fn pay(&mut self, head: &mut BillHead) -> Result<(), DemoError> {
        let household = self.household;
        let mut dice = Dice::new(household.seed, household.n, &format!("payment {}", head.id.month));
        let overpays =
            household.standing == Standing::Credit && head.id.month == Month::of(self.today).prev();
        let credit = if overpays { Fen(1000 + dice.below(90) as i64 * 100) } else { Fen::ZERO };
        let amount_fen = head.amount_fen + credit;
        let paid_ms = self.paid_ms(head, &mut dice)?;
        let payment = PaymentId::mint(head.id.account.bucket(), dice.bits());
        let transaction = format!("demo-{:016x}", dice.roll());

        let source = LedgerAccount::ProviderClearing { provider: PROVIDER.parse()? };
        let open = [OpenBill { id: head.id, open_fen: head.open_fen() }];
        let posted = ledger::post_payment(source, head.id.account.number(), amount_fen, &open)?;
        let part = |(bill, amount_fen): &(BillId, Fen)| BillPart { bill: *bill, amount_fen: *amount_fen };
        let settled = Settled {
            paid_fen: amount_fen,
            paid_ms,
            transactions: vec![transaction.clone()],
            bills: posted.allocations.iter().map(part).collect(),
            credit_fen: posted.credit_fen,
            late_fees: Vec::new(),
        };
        head.paid_fen = posted.allocations.iter().map(|(_, part)| *part).sum();
        self.credit_fen += posted.credit_fen;
        let text = format!("payment {payment} {transaction}");
        let created_ms = paid_ms - ORDERED_MS;
        self.puts.extend([
            Put::ProviderTransaction { provider: PROVIDER.to_owned(), transaction, payment },
            Put::Posting { at_ms: paid_ms, text, posting: posted.posting },
            Put::Payment(Payment {
                id: payment,
                account: household.account,
                customer: household.customer,
                amount_fen,
                provider: PROVIDER.to_owned(),
                created_ms,
                expires_ms: created_ms + ORDER_TTL_MS,
                mandate: None,
                failure: None,
                refunds: Vec::new(),
                settled: Some(settled),
            }),
        ]);
        Ok(())
    }

    /// Some day from the issue until it is due, before today, between eight and ten.
    fn paid_ms(&self, head: &BillHead, dice: &mut Dice) -> Result<u64, DemoError> {
        let last = head.due_on.min(self.today.yesterday().map_err(|_| DemoError::Today(self.today))?);
        let days = (last - head.issued_on).get_days().max(0).unsigned_abs();
        let day = dice.below(u64::from(days) + 1);
        let date = head
            .issued_on
            .checked_add(jiff::Span::new().days(day as i64))
            .map_err(|_| DemoError::Today(self.today))?;
        at_ms(date, 8 + dice.below(14) as i8, dice.below(60) as i8)
    }

    /// The account itself, and who has bound it.
    fn account(&mut self, first: Month) -> Result<(), DemoError> {
        let household = self.household;
        let (year, month) = household.opened;
        let opened = Month::new(year, month).map_or(first, |opened| opened.min(first));
        self.puts.push(Put::Account(Account {
            id: household.account,
            holder: household.holder.clone(),
            phone: Some(household.phone.clone()),
            address: household.address.clone(),
            division: household.place.division.to_owned(),
            tariff: household.tariff.clone(),
            large_household: household.large,
            opened,
            credit_fen: self.credit_fen,
            wrong_proofs: 0,
            proof_window_ms: 0,
        }));
        if household.is_bound() {
            let since_ms = bound_ms(self.today)?;
            self.puts.push(Put::Holder {
                account: household.account,
                customer: household.customer,
                since_ms,
            });
        }
        Ok(())
    }
}
