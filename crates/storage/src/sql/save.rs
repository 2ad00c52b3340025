//! Writes rows: each as the statements that put it into its tables.
use std::borrow::Cow;

use super::{Result, exports, pack, payments, requests, supply, value::Value, value::values};
use crate::rows::Put;

/// Takes statements, in their order. An engine may carry each out at once, or send them together.
pub(crate) type Sink<'a> = dyn FnMut(&'static str, &[Value<'_>]) -> Result<()> + 'a;

/// A statement that writes a row whole, or puts it in the place of the one with its key. Its values: key, then the rest.
macro_rules! upsert {
    ($table:literal, ($key:ident $(, $keys:ident)*), ($column:ident $(, $columns:ident)*)) => {
        concat!(
            "INSERT INTO ", $table, " (", stringify!($key), $(", ", stringify!($keys),)*
            ", ", stringify!($column), $(", ", stringify!($columns),)*
            ") VALUES (?", $($crate::sql::save::upsert!(@ $keys),)* ", ?", $($crate::sql::save::upsert!(@ $columns),)*
            ") ON CONFLICT (", stringify!($key), $(", ", stringify!($keys),)*
            ") DO UPDATE SET ", stringify!($column), " = excluded.", stringify!($column)
            $(, ", ", stringify!($columns), " = excluded.", stringify!($columns))*
        )
    };
    (@ $column:ident) => { ", ?" };
}
pub(super) use upsert;

/// Writes one row. `accepted_ms` is when the operation that writes it was accepted.
pub(crate) fn save(run: &mut Sink<'_>, put: &Put, accepted_ms: u64) -> Result<()> {
    match put {
        Put::Account(a) => run(
            upsert!(
                "account",
                (id),
                (
                    holder,
                    phone,
                    address,
                    division,
                    tariff,
                    large_household,
                    opened,
                    credit_fen,
                    wrong_proofs,
                    proof_window_ms
                )
            ),
            &values![
                a.id,
                &a.holder,
                a.phone.as_ref().map(|p| p.as_str()),
                &a.address,
                &a.division,
                a.tariff.as_str(),
                a.large_household,
                a.opened,
                a.credit_fen,
                a.wrong_proofs,
                a.proof_window_ms,
            ],
        ),
        Put::Holder { account, customer, since_ms } => run(
            "INSERT INTO holder VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            &values![*account, *customer, *since_ms],
        ),
        Put::CustomerAccount { customer, account, since_ms } => run(
            "INSERT INTO customer_account VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            &values![*customer, *account, *since_ms],
        ),
        Put::HolderGone { account, customer } => {
            run("DELETE FROM holder WHERE account = ?1 AND customer = ?2", &values![*account, *customer])
        }
        Put::CustomerAccountGone { customer, account } => run(
            "DELETE FROM customer_account WHERE customer = ?1 AND account = ?2",
            &values![*customer, *account],
        ),
        Put::Payee { customer, payee } => run(
            upsert!("payee", (customer, account), (asked_ms)),
            &values![*customer, payee.account, payee.asked_ms],
        ),
        Put::BindTries(t) => run(
            upsert!("bind_tries", (account, customer), (tries, window_ms)),
            &values![t.account, t.customer, t.tries, t.window_ms],
        ),
        Put::Supply(s) => run(
            upsert!("supply", (account), (state, since_ms, reconnect_at_ms)),
            &values![s.account, supply::state_name(s.state), s.since_ms, s.reconnect_at_ms],
        ),
        Put::Bill(head, detail) => run(
            upsert!(
                "bill",
                (account, month),
                (
                    tariff,
                    tariff_from,
                    energy_wh,
                    amount_fen,
                    paid_fen,
                    issued_on,
                    due_on,
                    detail,
                    late_e6,
                    late_through,
                    late_paid_fen
                )
            ),
            &values![
                head.id.account,
                head.id.month,
                head.tariff.as_str(),
                head.tariff_from,
                head.energy_wh,
                head.amount_fen,
                head.paid_fen,
                head.issued_on,
                head.due_on,
                pack(detail),
                head.late_fee.accrued_e6,
                head.late_fee.through.map_or(Value::Int(0), Value::from),
                head.late_fee.paid_fen,
            ],
        ),
        Put::BillPaid { bill, paid_fen } => run(
            "UPDATE bill SET paid_fen = ?3 WHERE account = ?1 AND month = ?2",
            &values![bill.account, bill.month, *paid_fen],
        ),
        Put::BillLateFee { bill, late_fee } => run(
            "UPDATE bill SET late_e6 = ?3, late_through = ?4, late_paid_fen = ?5 WHERE account = ?1 AND month = ?2",
            &values![
                bill.account,
                bill.month,
                late_fee.accrued_e6,
                late_fee.through.map_or(Value::Int(0), Value::from),
                late_fee.paid_fen,
            ],
        ),
        Put::Readings { account, date, packed } => {
            run(upsert!("readings", (account, date), (packed)), &values![*account, *date, packed])
        }
        Put::Identity(i) => run(
            upsert!("identity", (identity), (customer, last_code_ms, codes, code_window_ms)),
            &values![&i.identity, i.customer, i.last_code_ms, i.codes, i.code_window_ms],
        ),
        Put::Challenge(ch) => run(
            upsert!("challenge", (id), (phone, purpose, account, expires_ms, attempts, used)),
            &values![
                ch.id,
                ch.phone.as_str(),
                pack(&ch.purpose),
                ch.account,
                ch.expires_ms,
                ch.attempts,
                ch.used,
            ],
        ),
        Put::Session(s) => run(
            upsert!(
                "session",
                (id),
                (customer, generation, expires_ms, ended, begun_ms, used_ms, channel)
            ),
            &values![
                s.id,
                s.customer,
                s.generation,
                s.expires_ms,
                s.ended,
                s.begun_ms,
                s.used_ms,
                s.channel.map_or("", |channel| channel.as_str()),
            ],
        ),
        Put::Person(p) => run(
            upsert!(
                "person",
                (customer),
                (
                    phone,
                    since_ms,
                    name,
                    language,
                    elder,
                    notices,
                    last_code_ms,
                    codes,
                    code_window_ms,
                    gone_ms
                )
            ),
            &values![
                p.customer,
                p.phone.as_ref().map(|phone| phone.as_str()),
                p.since_ms,
                &p.name,
                p.language.as_ref().map(pack),
                p.elder,
                pack(&p.notices),
                p.last_code_ms,
                p.codes,
                p.code_window_ms,
                p.gone_ms,
            ],
        ),
        Put::WordsGone { customer } => requests::forget(run, *customer),
        Put::PayeesGone { customer } => run("DELETE FROM payee WHERE customer = ?1", &values![*customer]),
        Put::Payment(p) => payments::save_payment(run, p),
        Put::PaymentSettled { payment, settled, .. } => payments::save_settled(run, *payment, settled),
        Put::PaymentFailed { payment, failure, .. } => {
            run("UPDATE payment SET failure = ?2 WHERE id = ?1", &values![*payment, pack(failure)])
        }
        Put::PaymentRefunds { payment, refunds, .. } => payments::save_refunds(run, *payment, refunds),
        Put::Mandate(m) => payments::save_mandate(run, m),
        // Not replaced: should two rules ever race for one transaction id, the database refuses the second.
        Put::ProviderTransaction { provider, transaction, payment } => run(
            "INSERT INTO provider_transaction VALUES (?1, ?2, ?3)",
            &values![provider, transaction, *payment],
        ),
        Put::Posting { at_ms, text, posting } => {
            let kind = Cow::from(format!("{:?}", posting.kind()));
            run(
                "INSERT INTO posting VALUES (?1, ?2, ?3, ?4)",
                &[Value::NewRow, Value::from(*at_ms), Value::from(kind), Value::from(text)],
            )?;
            posting.entries().iter().enumerate().try_for_each(|(n, entry)| {
                let (account, code) = (entry.ledger_account.account(), entry.ledger_account.code());
                let [n, code, account, amount] = values![n, code, account, entry.amount_fen];
                run(
                    "INSERT INTO ledger_entry VALUES (?1, ?2, ?3, ?4, ?5)",
                    &[Value::ThatRow, n, code, account, amount],
                )
            })
        }
        Put::Push { id, body } => run(
            "INSERT INTO push VALUES (?1, 'waiting', ?2, ?3) ON CONFLICT DO NOTHING",
            &values![*id, accepted_ms, pack(body)],
        ),
        Put::Request(r) => run(
            "INSERT INTO request VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, closed = excluded.closed,
               changed_ms = excluded.changed_ms, answer_by_ms = excluded.answer_by_ms,
               paused_left_ms = excluded.paused_left_ms, outage = excluded.outage,
               steps = excluded.steps",
            &values![
                r.id,
                r.account,
                r.customer,
                pack(&r.kind),
                &r.form,
                &r.title_en,
                &r.title_zh,
                pack(&r.answers),
                pack(&r.state),
                r.state.is_closed(),
                r.created_ms,
                r.changed_ms,
                r.answer_by_ms,
                r.paused_left_ms,
                r.outage,
                r.steps,
            ],
        ),
        Put::RequestStep { request, n, step } => {
            run(upsert!("request_step", (request, n), (step)), &values![*request, *n, pack(step)])
        }
        Put::File(f) => run(
            "INSERT INTO request_file VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, why = excluded.why, kind = excluded.kind,
               root = excluded.root, changed_ms = excluded.changed_ms",
            &values![
                f.id,
                f.request,
                f.customer,
                &f.name,
                f.size,
                pack(&f.state),
                &f.why,
                &f.kind,
                f.root.as_ref(),
                f.created_ms,
                f.changed_ms,
            ],
        ),
        Put::Export(e) => exports::save(run, e),
        Put::ExportGone { export, .. } => run("DELETE FROM export WHERE id = ?1", &values![*export]),
        Put::Outage(o) => run(
            upsert!("outage", (id), (division, body, starts_ms, restored_ms)),
            &values![o.id, &o.division, pack(o), o.starts_ms, o.restored_ms],
        ),
        Put::DivisionReport { division, report } => run(
            upsert!("division_report", (request), (division, at_ms, outage)),
            &values![report.request, division, report.at_ms, report.outage],
        ),
        Put::Notice { customer, at_ms, body } => run(
            "INSERT INTO notice (customer, at_ms, body) VALUES (?1, ?2, ?3)",
            &values![*customer, *at_ms, pack(body)],
        ),
        Put::NoticeRead { customer, through } => run(
            "INSERT INTO notice_read VALUES (?1, ?2) ON CONFLICT (customer) DO UPDATE SET through =
               CASE WHEN excluded.through > notice_read.through THEN excluded.through ELSE notice_read.through END",
            &values![*customer, *through],
        ),
        Put::PushDone { id, delivered } => run(
            "UPDATE push SET state = ?2, body = x'' WHERE id = ?1",
            &values![*id, if *delivered { "delivered" } else { "failed" }],
        ),
    }
}
