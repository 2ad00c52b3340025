//! The one table of who may do what: operation × role × relation, however a request came in.
use protocol::{AccountId, Channel, Code, Problem, Request, session::Claims};

/// Who somebody must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Anybody, logged in or not.
    Anyone,
    /// A customer with a session.
    Customer,
    /// The platform's own programs in the extranet.
    System,
}

/// What must join them with what the operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Nothing.
    None,
    /// It is about themselves: their session, their list.
    Own,
    /// It is about how they log in, and they logged in a short while ago: a session that was left open somewhere is not
    /// enough.
    OwnFresh,
    /// They have bound the account.
    Holder,
    /// They have bound the account, where one is named.
    HolderIfNamed,
    /// They made the request; a fault report may be seen by all who have bound its account.
    RequestParty,
    /// They have bound the account; looked at where it is applied, so that who asks again after it was done is answered.
    HolderInLane,
    /// It is their money: they ordered the payment, or signed the mandate; looked at where it is applied.
    PayerInLane,
    /// They have bound the account, or have looked whose it is and want to pay for them.
    HolderOrPayer,
    /// They have bound the payment's account, or ordered the payment; then the account's other details stay hidden.
    PaymentHolderOrPayer,
    /// They have bound the account that the file is about.
    ExportHolder,
    /// It is an operation they asked for.
    Asker,
    /// The message carries a signature that proves itself.
    Signed,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The operation's name in the catalogue.
    pub operation: &'static str,
    /// Who.
    pub role: Role,
    /// With what relation.
    pub relation: Relation,
}

const fn rule(operation: &'static str, role: Role, relation: Relation) -> Rule {
    Rule { operation, role, relation }
}

/// The table. An operation that is not in it is allowed to nobody.
pub const TABLE: &[Rule] = &[
    rule("login_start", Role::Anyone, Relation::None),
    rule("login_finish", Role::Anyone, Relation::None),
    rule("session_refresh", Role::Anyone, Relation::Signed),
    rule("session_end", Role::Customer, Relation::Own),
    rule("staff_login", Role::Anyone, Relation::None),
    rule("account_list", Role::Customer, Relation::Own),
    rule("account_summary", Role::Customer, Relation::Holder),
    rule("account_bind_start", Role::Customer, Relation::None),
    rule("account_bind", Role::Customer, Relation::None),
    rule("account_unbind_start", Role::Customer, Relation::Holder),
    rule("account_unbind", Role::Customer, Relation::HolderInLane),
    rule("payee_get", Role::Customer, Relation::None),
    rule("person_get", Role::Customer, Relation::Own),
    rule("person_correct", Role::Customer, Relation::Own),
    rule("person_delete_start", Role::Customer, Relation::Own),
    rule("person_delete", Role::Customer, Relation::Own),
    rule("phone_change_start", Role::Customer, Relation::OwnFresh),
    rule("phone_change", Role::Customer, Relation::OwnFresh),
    rule("preferences_get", Role::Customer, Relation::Own),
    rule("preferences_set", Role::Customer, Relation::Own),
    rule("session_list", Role::Customer, Relation::Own),
    rule("session_end_other", Role::Customer, Relation::Own),
    rule("bill_list", Role::Customer, Relation::Holder),
    rule("bill_get", Role::Customer, Relation::Holder),
    rule("usage_month", Role::Customer, Relation::Holder),
    rule("tier_get", Role::Customer, Relation::Holder),
    rule("usage_year", Role::Customer, Relation::Holder),
    rule("tariff_quote", Role::Customer, Relation::Holder),
    rule("tariff_compare", Role::Customer, Relation::Holder),
    rule("payment_create", Role::Customer, Relation::HolderOrPayer),
    rule("payment_get", Role::Customer, Relation::PaymentHolderOrPayer),
    rule("payment_list", Role::Customer, Relation::PaymentHolderOrPayer),
    rule("payment_callback", Role::Anyone, Relation::Signed),
    rule("refund_create", Role::Customer, Relation::PayerInLane),
    rule("mandate_create", Role::Customer, Relation::Holder),
    rule("mandate_get", Role::Customer, Relation::Holder),
    rule("mandate_end", Role::Customer, Relation::PayerInLane),
    rule("form_list", Role::Anyone, Relation::None),
    rule("request_create", Role::Customer, Relation::HolderIfNamed),
    rule("fault_report", Role::Customer, Relation::Holder),
    rule("request_list", Role::Customer, Relation::HolderIfNamed),
    rule("request_get", Role::Customer, Relation::RequestParty),
    rule("request_note", Role::Customer, Relation::RequestParty),
    rule("request_cancel", Role::Customer, Relation::RequestParty),
    rule("request_form", Role::Customer, Relation::RequestParty),
    rule("file_create", Role::Customer, Relation::RequestParty),
    rule("file_end", Role::System, Relation::None),
    rule("file_result", Role::System, Relation::None),
    rule("file_attach", Role::System, Relation::None),
    rule("outage_list", Role::Customer, Relation::Holder),
    rule("notice_list", Role::Customer, Relation::Own),
    rule("notice_read", Role::Customer, Relation::Own),
    rule("operation_get", Role::Customer, Relation::Asker),
    rule("push_result", Role::System, Relation::None),
    rule("export_create", Role::Customer, Relation::HolderInLane),
    rule("export_get", Role::Customer, Relation::ExportHolder),
    rule("export_list", Role::Customer, Relation::Holder),
];

/// The line for an operation.
pub fn rule_of(request: &Request) -> Option<&'static Rule> {
    TABLE.iter().find(|rule| rule.operation == request.spec().name)
}

/// Whether an operation is asked by somebody with a session.
pub fn needs_session(request: &Request) -> bool {
    rule_of(request).is_some_and(|rule| rule.role == Role::Customer)
}

/// Checks the role. What the relation asks for is checked where the row is at hand; see [`Relation`].
pub fn check_role(
    request: &Request,
    session: Option<&Claims>,
    channel: Channel,
) -> Result<Relation, Problem> {
    let forbidden = || Problem::new(Code::Forbidden, "This operation is not open to you.");
    let rule = rule_of(request).ok_or_else(forbidden)?;
    match rule.role {
        Role::Anyone => Ok(rule.relation),
        Role::Customer if session.is_some() => Ok(rule.relation),
        Role::Customer => Err(Problem::new(Code::Unauthenticated, "Log in first.")),
        Role::System if channel == Channel::System => Ok(rule.relation),
        Role::System => Err(forbidden()),
    }
}

/// The account a request is about, where its relation is a holder's of some kind.
pub fn account_of(request: &Request) -> Option<AccountId> {
    match request {
        Request::AccountSummary(r) => Some(r.account),
        Request::BillList(r) => Some(r.account),
        Request::BillGet(r) => Some(r.bill.account),
        Request::UsageMonth(r) => Some(r.account),
        Request::TierGet(r) => Some(r.account),
        Request::UsageYear(r) => Some(r.account),
        Request::TariffQuote(r) => Some(r.account),
        Request::TariffCompare(r) => Some(r.account),
        Request::PaymentCreate(r) => Some(r.account),
        Request::MandateCreate(r) => Some(r.account),
        Request::MandateGet(r) => Some(r.account),
        Request::RequestCreate(r) => r.account,
        Request::FaultReport(r) => Some(r.account),
        Request::RequestList(r) => r.account,
        Request::OutageList(r) => Some(r.account),
        Request::AccountUnbindStart(r) => Some(r.account),
        Request::ExportList(r) => Some(r.account),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use protocol::catalogue::{ALL, Kind};

    use super::*;

    #[test]
    fn every_operation_of_the_catalogue_has_one_line() {
        for spec in ALL.iter().filter(|spec| spec.kind != Kind::Gate) {
            let lines = TABLE.iter().filter(|rule| rule.operation == spec.name).count();
            assert_eq!(lines, 1, "{}", spec.name);
        }
        assert_eq!(TABLE.len(), ALL.iter().filter(|spec| spec.kind != Kind::Gate).count());
    }
}
