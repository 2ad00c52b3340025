//! Reads: from the cache, or a slave; authorized already, but for what only the row tells.
mod account;
mod bill;
mod export;
mod payee;
mod payment;
mod person;
mod request;
mod tariff;
mod tier;
mod usage;

pub(crate) use request::{brief as request_brief, shown_outage};

use domain::{
    billing::{BillTerms, VersionChoice},
    calendar::Month,
    late_fee::LateFeeRate,
    tariff::{Household, Tariff},
};
use jiff::civil::Date;
use protocol::{
    Code, CustomerId, Outcome, Problem, Reply, Request, Token,
    catalogue::replies::{BillBrief, BillState, TariffBrief},
};
use storage::{
    rows::{Account, BillHead},
    store::Seen,
};

use crate::{
    day::day_of,
    node::{Answer, Asked, Node},
};

impl Node {
    /// The day it is, where the customers live.
    pub fn today(&self) -> Date {
        day_of(self.parts.clock.unix_ms())
    }

    pub(crate) async fn read(&self, asked: &Asked, request: &Request) -> Result<Answer, Problem> {
        match request {
            Request::AccountList(_) => self.account_list(customer(asked)?).await,
            Request::AccountSummary(r) => self.account_summary(r.account).await,
            Request::PersonGet(_) => self.person_get(asked).await,
            Request::PreferencesGet(_) => self.preferences_get(asked).await,
            Request::SessionList(_) => self.session_list(asked).await,
            Request::PayeeGet(r) => self.payee_get(asked, r.account).await,
            Request::BillList(r) => self.bill_list(r).await,
            Request::BillGet(r) => self.bill_get(r.bill).await,
            Request::UsageMonth(r) => self.usage_month(r).await,
            Request::UsageYear(r) => self.usage_year(r.account, r.year).await,
            Request::TierGet(r) => self.tier_get(r.account).await,
            Request::TariffQuote(r) => self.tariff_quote(r).await,
            Request::TariffCompare(r) => self.tariff_compare(r.account).await,
            Request::PaymentGet(r) => self.payment_get(customer(asked)?, r.payment).await,
            Request::MandateGet(r) => self.mandate_get(customer(asked)?, r.account).await,
            Request::PaymentList(r) => self.payment_list(customer(asked)?, r).await,
            Request::StaffLogin(r) => self.staff_login(&r.name, &r.password).await,
            Request::FormList(_) => Ok(self.form_list()),
            Request::RequestList(r) => self.request_list(customer(asked)?, r).await,
            Request::RequestGet(r) => self.request_get(customer(asked)?, r.request).await,
            Request::RequestForm(r) => self.request_form(customer(asked)?, r.request).await,
            Request::OutageList(r) => self.outage_list(asked, r.account).await,
            Request::NoticeList(r) => self.notice_list(customer(asked)?, r).await,
            Request::ExportGet(r) => self.export_get(customer(asked)?, r.export).await,
            Request::ExportList(r) => self.export_list(r.account).await,
            Request::OperationGet(r) => self.operation_get(customer(asked)?, r.operation).await,
            other => {
                let why = format!("{} is not a read.", other.spec().name);
                Err(Problem::new(Code::InvalidRequest, why))
            }
        }
    }

    async fn operation_get(
        &self,
        customer: CustomerId,
        id: protocol::OperationId,
    ) -> Result<Answer, Problem> {
        let not_found = || Problem::not_found("operation");
        match self.operation_status(id).await? {
            Some((status, asker, position)) if asker == Some(customer) => Ok(Answer {
                outcome: Outcome::Done(Reply::OperationGet(status)),
                token: position.map_or_else(Token::default, Token::at),
            }),
            _ => Err(not_found()),
        }
    }

    /// A tariff's words and rules. What an account is billed by is in the book, or its data is broken.
    fn tariff(&self, id: &domain::tariff::TariffId) -> Result<&Tariff, Problem> {
        let missing = || Problem::new(Code::Internal, format!("The tariff {id} is not in the book."));
        self.parts.rules.tariffs.get(id.as_str()).ok_or_else(missing)
    }
}

fn customer(asked: &Asked) -> Result<CustomerId, Problem> {
    let login = || Problem::new(Code::Unauthenticated, "Log in first.");
    asked.session.as_ref().map(|s| s.customer).ok_or_else(login)
}

/// A reply made of what a slave shows; `None` of nothing.
fn made<T>(
    seen: Seen<Option<T>>,
    make: impl FnOnce(T) -> Result<Reply, Problem>,
) -> Result<Seen<Option<Reply>>, Problem> {
    Ok(Seen { value: seen.value.map(make).transpose()?, position: seen.position })
}

fn brief(tariff: &Tariff) -> TariffBrief {
    TariffBrief {
        tariff: tariff.id.clone(),
        name_en: tariff.name_en.clone(),
        name_zh: tariff.name_zh.clone(),
        time_of_use: tariff.is_time_of_use(),
    }
}

/// What an account's contract says about its bills.
fn terms(account: &Account) -> BillTerms {
    BillTerms {
        household: if account.large_household { Household::Large } else { Household::Ordinary },
        service_start: Some(account.opened),
        service_end: None,
        version: VersionChoice::Named,
    }
}

fn bill_brief(head: &BillHead, today: Date, rate: LateFeeRate) -> BillBrief {
    let state = match head.is_open() {
        false => BillState::Paid,
        true if head.due_on < today => BillState::Overdue,
        true => BillState::Open,
    };
    let late_fee = head.late_fee_on(today, rate);
    BillBrief {
        bill: head.id,
        month: head.id.month,
        energy_wh: head.energy_wh,
        amount_fen: head.amount_fen,
        paid_fen: head.paid_fen,
        late_fee_fen: late_fee.total_fen(),
        late_fee_paid_fen: late_fee.paid_fen,
        late_fee_on: today,
        state,
        issued_on: head.issued_on,
        due_on: head.due_on,
    }
}

fn month_number(month: Month) -> u64 {
    u64::from(month.year().unsigned_abs()) * 100 + u64::from(month.month().unsigned_abs())
}

fn day_number(date: Date) -> u64 {
    month_number(Month::of(date)) * 100 + u64::from(date.day().unsigned_abs())
}

/// The first letter of a name stays, the rest is hidden: 张**.
pub(crate) fn mask_name(name: &str) -> String {
    let mut letters = name.chars();
    let first: String = letters.next().into_iter().collect();
    first + &"*".repeat(letters.count().clamp(1, 3))
}

/// The street stays, house and room are hidden.
pub(crate) fn mask_address(address: &str) -> String {
    address.chars().map(|c| if c.is_ascii_digit() { '*' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_hide_what_names_a_person() {
        assert_eq!(mask_name("张三"), "张*");
        assert_eq!(mask_name("欧阳样例先生"), "欧***");
        assert_eq!(mask_name("李"), "李*");
        assert_eq!(mask_address("样例路12号3幢501室"), "样例路**号*幢***室");
    }
}
