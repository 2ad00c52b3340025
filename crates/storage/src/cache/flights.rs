//! One load of a key at a time in this process: whoever misses a key that is being loaded waits for that load.
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use protocol::Position;
use tokio::sync::watch;

use super::{View, memory::Value};
use crate::rows::Entity;

type Key = (Entity, View);

/// What a load came to: a value and where its lane stood; nothing while it is under way, or where it failed.
type Landed = Option<(Value, Position)>;

/// The loads under way.
#[derive(Default)]
pub(super) struct Flights {
    flying: Mutex<HashMap<Key, watch::Receiver<Landed>>>,
}

/// How one comes to a value.
pub(super) enum Boarding<'a> {
    /// By loading it for all.
    First(Flight<'a>),
    /// By waiting for who does.
    Other(Waiting),
}

impl Flights {
    pub(super) fn board(&self, key: Key) -> Boarding<'_> {
        let mut flying = lock(&self.flying);
        if let Some(landing) = flying.get(&key) {
            return Boarding::Other(Waiting(landing.clone()));
        }
        let (landing, waiting) = watch::channel(None);
        flying.insert(key, waiting);
        Boarding::First(Flight { flights: self, key, landing })
    }
}

/// A load under way. Dropped without having landed, whoever waits tries for themselves.
pub(super) struct Flight<'a> {
    flights: &'a Flights,
    key: Key,
    landing: watch::Sender<Landed>,
}

impl Flight<'_> {
    /// Gives its value to all who wait.
    pub(super) fn land(self, value: Value, position: Position) {
        self.landing.send_replace(Some((value, position)));
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        lock(&self.flights.flying).remove(&self.key);
    }
}

/// A place among those who wait.
pub(super) struct Waiting(watch::Receiver<Landed>);

/// Why one waits no longer.
pub(super) enum Ended {
    /// The value is here.
    With(Value, Position),
    /// The load failed or was given up.
    Without,
    /// It takes too long.
    Late,
}

impl Waiting {
    pub(super) async fn end(mut self, patience: Duration) -> Ended {
        match tokio::time::timeout(patience, self.0.wait_for(Option::is_some)).await {
            Ok(Ok(landed)) => match &*landed {
                Some((value, position)) => Ended::With(value.clone(), *position),
                None => Ended::Without,
            },
            Ok(Err(_)) => Ended::Without,
            Err(_) => Ended::Late,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
