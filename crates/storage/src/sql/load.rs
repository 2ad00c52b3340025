//! Reads what a rule asks for into a working set.
use super::{Result, Snapshot, bills, exports, payments, people, requests, supply};
use crate::working_set::{Key, WorkingSet};

/// What was read for a key: filled in where it was asked for.
pub(crate) type Loaded = Box<dyn FnOnce(&mut WorkingSet) + Send>;

/// Reads what `key` asks for.
pub(crate) async fn load<S: Snapshot>(s: &S, key: &Key) -> Result<Loaded> {
    macro_rules! fill {
        ($fill:ident($key:expr, $row:expr)) => {{
            let (key, row) = ($key, $row);
            Box::new(move |into: &mut WorkingSet| into.$fill(key, row))
        }};
    }
    Ok(match key {
        Key::Account(id) => fill!(fill_account(*id, bills::account_state(s, *id).await?)),
        Key::Bills(id) => {
            let mut all = bills::bills(s, *id, i64::MAX, u32::MAX).await?;
            all.reverse();
            fill!(fill_bills(*id, Some(all)))
        }
        Key::BindTries(account, customer) => {
            fill!(fill_bind_tries((*account, *customer), bills::bind_tries(s, *account, *customer).await?))
        }
        Key::Payees(customer) => fill!(fill_payees(*customer, Some(people::payees(s, *customer).await?))),
        Key::Person(customer) => fill!(fill_person(*customer, people::person(s, *customer).await?)),
        Key::Sessions(customer) => {
            fill!(fill_sessions_of(*customer, Some(people::sessions_of(s, *customer).await?)))
        }
        Key::Supply(id) => fill!(fill_supply(*id, supply::supply(s, *id).await?)),
        Key::Identity(identity) => {
            fill!(fill_identity(identity.clone(), people::identity(s, identity).await?))
        }
        Key::Challenge(id) => fill!(fill_challenge(*id, people::challenge(s, *id).await?)),
        Key::Session(id) => fill!(fill_session(*id, people::session(s, *id).await?)),
        Key::Customer(id) => fill!(fill_customer(*id, Some(people::customer(s, *id).await?))),
        Key::Payment(id) => fill!(fill_payment(*id, payments::payment(s, *id).await?)),
        Key::Credits(account) => fill!(fill_credits(*account, Some(payments::credits(s, *account).await?))),
        Key::Mandate(account) => fill!(fill_mandate(*account, payments::mandate(s, *account).await?)),
        Key::ProviderTransaction(provider, transaction) => {
            let found = payments::provider_transaction(s, provider, transaction).await?;
            fill!(fill_transaction((provider.clone(), transaction.clone()), found))
        }
        Key::Request(id) => fill!(fill_request(*id, requests::request(s, *id).await?)),
        Key::File(id) => fill!(fill_file(*id, requests::file(s, *id).await?)),
        Key::RequestFiles(id) => fill!(fill_request_files(*id, Some(requests::files(s, *id).await?))),
        Key::Export(id) => fill!(fill_export(*id, exports::export(s, *id).await?)),
        Key::Exports(id) => fill!(fill_account_exports(*id, Some(exports::of_account(s, *id).await?))),
        Key::OpenRequests(id) => fill!(fill_open_requests(*id, Some(requests::open_count(s, *id).await?))),
        Key::Division(code) => fill!(fill_division(code.clone(), Some(requests::division(s, code).await?))),
        Key::OutageReports(outage, after) => {
            let found = requests::outage_reports(s, *outage, *after).await?;
            fill!(fill_outage_reports((*outage, *after), Some(found)))
        }
    })
}
