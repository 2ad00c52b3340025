//! Where etcd is and how it is used: the part that all programs' settings share.
use std::time::Duration;

use serde::Deserialize;

use crate::{
    etcd::{Etcd, EtcdError},
    keys::Keys,
    lease::LeaseTerms,
};

/// The settings of the cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// etcd's members, each as `http://host:2379`.
    pub endpoints: Vec<String>,
    /// What all keys begin with: `/gridesk` unless set. Two systems on one etcd have two prefixes.
    #[serde(default = "defaults::prefix")]
    pub prefix: String,
    /// Leases: 3 s with a guard of 1,000 ms unless set. The same for every program of the cluster.
    #[serde(default)]
    pub lease: LeaseTerms,
    /// How long an attempt at one member may take, in ms: 500 unless set.
    #[serde(default = "defaults::attempt_ms")]
    pub attempt_ms: u64,
}

mod defaults {
    pub(super) fn prefix() -> String {
        "/gridesk".to_owned()
    }
    pub(super) fn attempt_ms() -> u64 {
        500
    }
}

impl ClusterSettings {
    /// These endpoints, and all else as it is unless set.
    pub fn new(endpoints: Vec<String>) -> Self {
        let (prefix, attempt_ms) = (defaults::prefix(), defaults::attempt_ms());
        ClusterSettings { endpoints, prefix, lease: LeaseTerms::default(), attempt_ms }
    }

    /// A client, and the names of the keys. Nothing is asked yet.
    ///
    /// # Errors
    /// [`EtcdError::Settings`]: what makes no sense.
    pub fn client(&self) -> Result<(Etcd, Keys), EtcdError> {
        if !self.prefix.starts_with('/') || self.prefix.trim_end_matches('/').is_empty() {
            return Err(EtcdError::Settings("prefix: begin with / and name something".to_owned()));
        }
        // Two attempts fit into the time that a holder may act: one at a member that is gone, one at the next.
        let attempt = Duration::from_millis(self.attempt_ms);
        if self.attempt_ms < 50 || attempt * 2 > self.lease.acting() {
            return Err(EtcdError::Settings(
                "attempt_ms: at least 50, and twice within the lease less its guard".to_owned(),
            ));
        }
        Ok((Etcd::new(&self.endpoints, attempt)?, Keys::new(&self.prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let good = ClusterSettings::new(vec!["http://etcd-1:2379".to_owned()]);
        assert!(good.client().is_ok());
        let wrong = [
            ClusterSettings { prefix: "gridesk".to_owned(), ..good.clone() },
            ClusterSettings { prefix: "//".to_owned(), ..good.clone() },
            ClusterSettings { attempt_ms: 1001, ..good.clone() },
            ClusterSettings { attempt_ms: 0, ..good },
        ];
        for settings in wrong {
            assert!(matches!(settings.client(), Err(EtcdError::Settings(_))), "{settings:?}");
        }
    }
}
