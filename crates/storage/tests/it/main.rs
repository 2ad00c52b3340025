//! Stores, lanes and caches: one suite for every backend, and what only the one or the other can be
//! asked.
#![allow(clippy::unwrap_used)]
mod commits;
mod embedded;
mod faults;
mod gapless;
mod kill;
mod nats;
mod postgres;
mod redis_room;
mod suite;
mod system;

backend_suite!(on_sqlite, crate::embedded::Embedded);

backend_suite!(together postgres_store_does_what_every_store_does, crate::postgres::OneMaster,
    apply:
        an_operation_is_applied_once_whatever_comes_again,
        operations_are_applied_in_order,
        a_batch_is_all_or_nothing,
        a_replaced_applier_changes_nothing,
        a_poison_operation_fails_alone,
        children_and_pushes_leave_with_their_operation,
        results_changes_and_position_are_of_one_snapshot,
        every_row_reads_back_as_it_was_written,
        what_is_taken_away_is_gone_and_what_was_asked_is_kept_a_while,
        epochs_grow_with_every_opening,
        the_ledger_sums_to_zero;
    coherence:
        batches_of_any_size_come_to_the_same;
    money:
        a_bill_is_open_until_its_late_fee_is_paid,
        a_reconnection_is_found_when_it_is_due,
        mandates_and_refunds_are_found_when_they_are_due;
);
mod nats_lanes {
    crate::backend_suite!(queue of crate::nats::Alone);
}
cache_suite!(in_memory, crate::embedded::InMemory);
cache_suite!(redis_shared, crate::redis_room::Room);
