//! The settings of lanes on NATS JetStream.
use std::{path::PathBuf, time::Duration};

use async_nats::{ConnectOptions, ServerAddr};
use serde::Deserialize;

use super::failed;
use crate::StorageError;

/// How lanes on NATS JetStream are reached and kept. Every node of a cluster has the same.
///
/// The servers must be of version 2.12 or newer and run with `sync_interval: always`: without it they acknowledge what
/// they have not flushed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// The servers, such as `nats://10.0.0.1:4222` or `tls://…`; any that answers is used.
    pub servers: Vec<String>,
    /// A file whose first line is `user:password`; absent: no password is sent.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// A PEM file of the authorities that sign the servers' certificates.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A PEM file of this node's own certificate; needs `key`.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// A PEM file of the certificate's private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// On how many servers each lane is kept: 1 or 3; 3 unless set.
    #[serde(default = "defaults::replicas")]
    pub replicas: u8,
    /// Bytes a lane may take on each of them, reserved from the start; 1 GiB unless set. A full lane refuses new messages.
    #[serde(default = "defaults::max_bytes")]
    pub max_bytes: u64,
    /// How long an append may take, waiting included, in ms: 100 to 30,000; 10,000 unless set, which outlasts the choice
    /// of a new leader.
    #[serde(default = "defaults::publish_timeout_ms")]
    pub publish_timeout_ms: u32,
    /// How long any other request to the servers may take, in ms: 100 to 30,000; 2,000 unless set.
    #[serde(default = "defaults::request_timeout_ms")]
    pub request_timeout_ms: u32,
    /// How many appends to a lane may wait in this node: 1 to 65,536; 4,096 unless set.
    #[serde(default = "defaults::waiting_appends")]
    pub waiting_appends: u32,
    /// How many bytes they may hold, in KiB: 64 to 1,048,576; 32,768 (32 MiB) unless set.
    #[serde(default = "defaults::waiting_kib")]
    pub waiting_kib: u32,
}

mod defaults {
    pub(super) fn replicas() -> u8 {
        3
    }
    pub(super) fn max_bytes() -> u64 {
        1 << 30
    }
    pub(super) fn publish_timeout_ms() -> u32 {
        10_000
    }
    pub(super) fn request_timeout_ms() -> u32 {
        2_000
    }
    pub(super) fn waiting_appends() -> u32 {
        4_096
    }
    pub(super) fn waiting_kib() -> u32 {
        32 << 10
    }
}

/// The longest pause before a lost connection is tried again.
const RECONNECT_PAUSE_MOST: Duration = Duration::from_secs(1);

impl NatsConfig {
    /// These servers, everything else as it is unless set.
    pub fn new(servers: Vec<String>) -> Self {
        NatsConfig {
            servers,
            credentials: None,
            ca: None,
            certificate: None,
            key: None,
            replicas: defaults::replicas(),
            max_bytes: defaults::max_bytes(),
            publish_timeout_ms: defaults::publish_timeout_ms(),
            request_timeout_ms: defaults::request_timeout_ms(),
            waiting_appends: defaults::waiting_appends(),
            waiting_kib: defaults::waiting_kib(),
        }
    }

    /// Says which setting is out of its bounds.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        let timeout = 100..=30_000;
        let wrong = if self.servers.is_empty() {
            "servers: name at least one"
        } else if !matches!(self.replicas, 1 | 3) {
            "replicas: 1 or 3"
        } else if !(1 << 20..=i64::MAX as u64).contains(&self.max_bytes) {
            "max_bytes: at least 1,048,576"
        } else if !timeout.contains(&self.publish_timeout_ms) {
            "publish_timeout_ms: 100 to 30,000"
        } else if !timeout.contains(&self.request_timeout_ms) {
            "request_timeout_ms: 100 to 30,000"
        } else if !(1..=65_536).contains(&self.waiting_appends) {
            "waiting_appends: 1 to 65,536"
        } else if !(64..=1 << 20).contains(&self.waiting_kib) {
            "waiting_kib: 64 to 1,048,576"
        } else if self.certificate.is_some() != self.key.is_some() {
            "certificate and key: both or neither"
        } else {
            return Ok(());
        };
        Err(failed("reading the settings")(wrong))
    }

    /// How long an append may take.
    pub(super) fn publish_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.publish_timeout_ms))
    }

    /// How long any other request may take.
    pub(super) fn request_timeout(&self) -> Duration {
        Duration::from_millis(u64::from(self.request_timeout_ms))
    }

    pub(super) fn addresses(&self) -> Result<Vec<ServerAddr>, StorageError> {
        let parse = |server: &String| {
            server.parse().map_err(|e| failed("reading the settings")(format!("server {server}: {e}")))
        };
        self.servers.iter().map(parse).collect()
    }

    pub(super) async fn options(&self) -> Result<ConnectOptions, StorageError> {
        let mut options = ConnectOptions::new()
            .name("gridesk")
            .connection_timeout(self.request_timeout())
            .request_timeout(Some(self.request_timeout()))
            .ping_interval(Duration::from_secs(2))
            .reconnect_delay_callback(|tries| {
                let pause = Duration::from_millis(20 << tries.min(6));
                pause.min(RECONNECT_PAUSE_MOST)
            });
        if let Some(path) = &self.credentials {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.map_err(|source| StorageError::Folder { path: path.clone(), source })?;
            let (user, password) =
                text.lines().next().and_then(|line| line.trim().split_once(':')).ok_or_else(|| {
                    failed("reading the credentials")("the first line is not user:password")
                })?;
            options = options.user_and_password(user.to_owned(), password.to_owned());
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.key) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_bounds_are_named() {
        let good = NatsConfig::new(vec!["nats://127.0.0.1:4222".to_owned()]);
        good.check().unwrap();
        let wrong = |change: fn(&mut NatsConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(wrong(|c| c.servers.clear()).contains("servers"));
        assert!(wrong(|c| c.replicas = 2).contains("replicas"));
        assert!(wrong(|c| c.max_bytes = 1).contains("max_bytes"));
        assert!(wrong(|c| c.publish_timeout_ms = 1).contains("publish_timeout_ms"));
        assert!(wrong(|c| c.request_timeout_ms = 60_000).contains("request_timeout_ms"));
        assert!(wrong(|c| c.waiting_appends = 0).contains("waiting_appends"));
        assert!(wrong(|c| c.waiting_kib = 0).contains("waiting_kib"));
        assert!(wrong(|c| c.key = Some("key.pem".into())).contains("certificate"));
        assert!(good.addresses().is_ok());
    }
}
