//! Writes rows.
use rusqlite::{Connection, params};

use super::values::{bits, date_number, month_number, pack};
use super::{exports, payments, requests};
use crate::{
    StorageError,
    rows::{Put, SupplyState},
};

/// Writes one row. `at_ms` is when the operation that writes it was accepted.
pub(crate) fn save(c: &Connection, put: &Put, at_ms: u64) -> Result<(), StorageError> {
    write(c, put, at_ms).map_err(StorageError::database("writing a row"))
}

fn write(c: &Connection, put: &Put, accepted_ms: u64) -> rusqlite::Result<()> {
    let run = |sql: &str, params: &[&dyn rusqlite::ToSql]| c.prepare_cached(sql)?.execute(params).map(drop);
    match put {
        Put::Account(a) => run(
            "INSERT OR REPLACE INTO account VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                a.id.number() as i64,
                a.holder,
                a.phone.as_ref().map(|p| p.as_str()),
                a.address,
                a.division,
                a.tariff.as_str(),
                a.large_household,
                month_number(a.opened),
                a.credit_fen.0,
                a.wrong_proofs,
                a.proof_window_ms as i64
            ],
        ),
        Put::Holder { account, customer, since_ms } => run(
            "INSERT OR IGNORE INTO holder VALUES (?1, ?2, ?3)",
            params![account.number() as i64, bits(customer.bits()), *since_ms as i64],
        ),
        Put::CustomerAccount { customer, account, since_ms } => run(
            "INSERT OR IGNORE INTO customer_account VALUES (?1, ?2, ?3)",
            params![bits(customer.bits()), account.number() as i64, *since_ms as i64],
        ),
        Put::HolderGone { account, customer } => run(
            "DELETE FROM holder WHERE account = ?1 AND customer = ?2",
            params![account.number() as i64, bits(customer.bits())],
        ),
        Put::CustomerAccountGone { customer, account } => run(
            "DELETE FROM customer_account WHERE customer = ?1 AND account = ?2",
            params![bits(customer.bits()), account.number() as i64],
        ),
        Put::Payee { customer, payee } => run(
            "INSERT OR REPLACE INTO payee VALUES (?1, ?2, ?3)",
            params![bits(customer.bits()), payee.account.number() as i64, payee.asked_ms as i64],
        ),
        Put::BindTries(t) => run(
            "INSERT OR REPLACE INTO bind_tries VALUES (?1, ?2, ?3, ?4)",
            params![t.account.number() as i64, bits(t.customer.bits()), t.tries, t.window_ms as i64],
        ),
        Put::Supply(s) => run(
            "INSERT OR REPLACE INTO supply VALUES (?1, ?2, ?3, ?4)",
            params![
                s.account.number() as i64,
                supply_state(s.state),
                s.since_ms as i64,
                s.reconnect_at_ms.map(|at| at as i64)
            ],
        ),
        Put::Bill(head, detail) => run(
            "INSERT OR REPLACE INTO bill VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
            params![
                head.id.account.number() as i64,
                month_number(head.id.month),
                head.tariff.as_str(),
                date_number(head.tariff_from),
                head.energy_wh.0,
                head.amount_fen.0,
                head.paid_fen.0,
                date_number(head.issued_on),
                date_number(head.due_on),
                pack(detail),
                head.late_fee.accrued_e6,
                head.late_fee.through.map_or(0, date_number),
                head.late_fee.paid_fen.0
            ],
        ),
        Put::BillPaid { bill, paid_fen } => run(
            "UPDATE bill SET paid_fen = ?3 WHERE account = ?1 AND month = ?2",
            params![bill.account.number() as i64, month_number(bill.month), paid_fen.0],
        ),
        Put::BillLateFee { bill, late_fee } => run(
            "UPDATE bill SET late_e6 = ?3, late_through = ?4, late_paid_fen = ?5 WHERE account = ?1 AND month = ?2",
            params![
                bill.account.number() as i64,
                month_number(bill.month),
                late_fee.accrued_e6,
                late_fee.through.map_or(0, date_number),
                late_fee.paid_fen.0
            ],
        ),
        Put::Readings { account, date, packed } => run(
            "INSERT OR REPLACE INTO readings VALUES (?1, ?2, ?3)",
            params![account.number() as i64, date_number(*date), packed],
        ),
        Put::Identity(i) => run(
            "INSERT OR REPLACE INTO identity VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                i.identity,
                i.customer.map(|c| bits(c.bits())),
                i.last_code_ms as i64,
                i.codes,
                i.code_window_ms as i64
            ],
        ),
        Put::Challenge(ch) => run(
            "INSERT OR REPLACE INTO challenge VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                bits(ch.id.bits()),
                ch.phone.as_str(),
                pack(&ch.purpose),
                ch.account.map(|a| a.number() as i64),
                ch.expires_ms as i64,
                ch.attempts,
                ch.used
            ],
        ),
        Put::Session(s) => run(
            "INSERT OR REPLACE INTO session VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                bits(s.id.bits()),
                bits(s.customer.bits()),
                s.generation,
                s.expires_ms as i64,
                s.ended,
                s.begun_ms as i64,
                s.used_ms as i64,
                s.channel.map_or("", |channel| channel.as_str())
            ],
        ),
        Put::Person(p) => run(
            "INSERT OR REPLACE INTO person VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            params![
                bits(p.customer.bits()),
                p.phone.as_ref().map(|phone| phone.as_str()),
                p.since_ms as i64,
                p.name,
                p.language.as_ref().map(pack),
                p.elder,
                pack(&p.notices),
                p.last_code_ms as i64,
                p.codes,
                p.code_window_ms as i64,
                p.gone_ms.map(|ms| ms as i64)
            ],
        ),
        Put::WordsGone { customer } => requests::forget(c, *customer),
        Put::PayeesGone { customer } => {
            run("DELETE FROM payee WHERE customer = ?1", params![bits(customer.bits())])
        }
        Put::Payment(p) => payments::save_payment(c, p).map(drop),
        Put::PaymentSettled { payment, settled, .. } => {
            payments::save_settled(c, *payment, settled).map(drop)
        }
        Put::PaymentFailed { payment, failure, .. } => {
            run("UPDATE payment SET failure = ?2 WHERE id = ?1", params![bits(payment.bits()), pack(failure)])
        }
        Put::PaymentRefunds { payment, refunds, .. } => {
            payments::save_refunds(c, *payment, refunds).map(drop)
        }
        Put::Mandate(m) => payments::save_mandate(c, m).map(drop),
        // No OR REPLACE: should two rules ever race for one transaction id, the database refuses the second.
        Put::ProviderTransaction { provider, transaction, payment } => run(
            "INSERT INTO provider_transaction VALUES (?1, ?2, ?3)",
            params![provider, transaction, bits(payment.bits())],
        ),
        Put::Posting { at_ms, text, posting } => {
            let kind = format!("{:?}", posting.kind());
            run(
                "INSERT INTO posting (at_ms, kind, about) VALUES (?1, ?2, ?3)",
                params![*at_ms as i64, kind, text],
            )?;
            let id = c.last_insert_rowid();
            for (n, entry) in posting.entries().iter().enumerate() {
                run(
                    "INSERT INTO ledger_entry VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        id,
                        n as i64,
                        entry.ledger_account.code(),
                        entry.ledger_account.account().map(|a| a as i64),
                        entry.amount_fen.0
                    ],
                )?;
            }
            Ok(())
        }
        Put::Push { id, body } => run(
            "INSERT OR IGNORE INTO push VALUES (?1, 'waiting', ?2, ?3)",
            params![bits(id.bits()), accepted_ms as i64, pack(body)],
        ),
        Put::Request(r) => run(
            "INSERT INTO request VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, closed = excluded.closed,
               changed_ms = excluded.changed_ms, answer_by_ms = excluded.answer_by_ms,
               paused_left_ms = excluded.paused_left_ms, outage = excluded.outage,
               steps = excluded.steps",
            params![
                bits(r.id.bits()),
                r.account.map(|a| a.number() as i64),
                bits(r.customer.bits()),
                pack(&r.kind),
                r.form,
                r.title_en,
                r.title_zh,
                pack(&r.answers),
                pack(&r.state),
                r.state.is_closed(),
                r.created_ms as i64,
                r.changed_ms as i64,
                r.answer_by_ms.map(|ms| ms as i64),
                r.paused_left_ms.map(|ms| ms as i64),
                r.outage.map(|o| bits(o.bits())),
                r.steps
            ],
        ),
        Put::RequestStep { request, n, step } => run(
            "INSERT OR REPLACE INTO request_step VALUES (?1, ?2, ?3)",
            params![bits(request.bits()), n, pack(step)],
        ),
        Put::File(f) => run(
            "INSERT INTO request_file VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (id) DO UPDATE SET state = excluded.state, why = excluded.why, kind = excluded.kind,
               root = excluded.root, changed_ms = excluded.changed_ms",
            params![
                bits(f.id.bits()),
                bits(f.request.bits()),
                bits(f.customer.bits()),
                f.name,
                f.size as i64,
                pack(&f.state),
                f.why,
                f.kind,
                f.root.as_ref().map(|root| root.as_slice()),
                f.created_ms as i64,
                f.changed_ms as i64
            ],
        ),
        Put::Export(e) => exports::save(c, e).map(drop),
        Put::ExportGone { export, .. } => {
            run("DELETE FROM export WHERE id = ?1", params![bits(export.bits())])
        }
        Put::Outage(o) => run(
            "INSERT OR REPLACE INTO outage VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                bits(o.id.bits()),
                o.division,
                pack(o),
                o.starts_ms as i64,
                o.restored_ms.map(|ms| ms as i64)
            ],
        ),
        Put::DivisionReport { division, report } => run(
            "INSERT OR REPLACE INTO division_report VALUES (?1, ?2, ?3, ?4)",
            params![
                bits(report.request.bits()),
                division,
                report.at_ms as i64,
                report.outage.map(|o| bits(o.bits()))
            ],
        ),
        Put::Notice { customer, at_ms, body } => run(
            "INSERT INTO notice (customer, at_ms, body) VALUES (?1, ?2, ?3)",
            params![bits(customer.bits()), *at_ms as i64, pack(body)],
        ),
        Put::NoticeRead { customer, through } => run(
            "INSERT INTO notice_read VALUES (?1, ?2)
             ON CONFLICT (customer) DO UPDATE SET through = max(through, excluded.through)",
            params![bits(customer.bits()), *through as i64],
        ),
        Put::PushDone { id, delivered } => run(
            "UPDATE push SET state = ?2, body = x'' WHERE id = ?1",
            params![bits(id.bits()), if *delivered { "delivered" } else { "failed" }],
        ),
    }
}

/// How a supply's state is written.
pub(super) fn supply_state(state: SupplyState) -> &'static str {
    match state {
        SupplyState::Connected => "connected",
        SupplyState::Cut => "cut",
        SupplyState::Reconnecting => "reconnecting",
    }
}
