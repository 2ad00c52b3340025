//! The node's settings.
use std::{fmt::Display, path::PathBuf, sync::Arc};

use domain::{forms::FormBook, late_fee::LateFeeRate};
use protocol::{bounds::ShortName, routing::regions::Region, session::StaffRole};
use runtime::secret::{ExposeSecret, SecretError, SecretKey, load_key};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::rules::DebitTerms;

mod cluster;
pub use self::cluster::{ClusterConfig, EngineSettings, EnginesFile};

/// The settings of a center node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of the business data, and of what a node of a cluster keeps for itself. Locked: one node works on it.
    pub data: PathBuf,
    /// Unix socket on which the gates' inner halves connect.
    pub socket: PathBuf,
    /// Unix socket of the intranet's administration, health and metrics (HTTP).
    pub admin: PathBuf,
    /// User ids besides our own that may connect to these sockets.
    #[serde(default)]
    pub allow_uids: Vec<u32>,
    /// The portal's public address, to which a payer returns and at which providers call back.
    pub public_url: String,
    /// The cluster that this node is one of; absent: it is alone, and keeps the business data itself.
    #[serde(default)]
    pub cluster: Option<ClusterConfig>,
    /// Folder of the keys by which sessions, codes and receipts are made, the same at every node of a cluster; `keys` in
    /// the data folder unless set. Those that are missing are made.
    #[serde(default)]
    pub keys: Option<PathBuf>,
    /// How many database files the data is spread over, where the node is alone; in a cluster the engines' file lists the
    /// shards. Fixed once data is there.
    #[serde(default = "defaults::shards")]
    pub shards: u16,
    /// How many lanes each shard has. Fixed once data is there.
    #[serde(default = "defaults::lanes_per_shard")]
    pub lanes_per_shard: u16,
    /// Accounts that live in some of the shards, by how their numbers begin; all others are spread over all shards. Fixed once
    /// data is there.
    #[serde(default)]
    pub regions: Vec<Region>,
    /// Connections for reading, a shard, where the node is alone.
    #[serde(default = "defaults::readers")]
    pub readers: usize,
    /// How many accounts, customers and sessions the cache of a node that is alone holds at most.
    #[serde(default = "defaults::cache_entities")]
    pub cache_entities: u64,
    /// How many messages may wait in a lane before writes to it are refused for the moment.
    #[serde(default = "defaults::lane_backlog")]
    pub lane_backlog: u64,
    /// What a day of being late costs, in millionths of what is overdue: 1000, one per mille, unless set. A change holds
    /// for late fees that are not charged yet, back to the due date.
    #[serde(default = "defaults::late_fee")]
    pub late_fee_per_day_e6: LateFeeRate,
    /// A file that was named and has not come after so many days is given up: 8 to 90, 8 unless set. An edge gives up after
    /// seven; what waits longer there for a gate comes too late.
    #[serde(default)]
    pub file_expected_days: FileDays,
    /// Power may be cut off where a bill has been overdue for more days than this: 30 unless set.
    #[serde(default = "defaults::cut_after_overdue_days")]
    pub cut_after_overdue_days: u16,
    /// How long reconnecting takes once what is overdue is paid, in seconds: 300 unless set (meters are switched remotely).
    #[serde(default = "defaults::reconnect_after_s")]
    pub reconnect_after_s: u32,
    /// Folder of the files that are made for customers, from which the gate's inner half hands them out; absent: none are
    /// made.
    #[serde(default)]
    pub outward: Option<PathBuf>,
    /// For how long such a file can be had, in seconds: 604800, a week, unless set.
    #[serde(default = "defaults::export_keep_s")]
    pub export_keep_s: u32,
    /// Automatic debit.
    #[serde(default)]
    pub debit: DebitTerms,
    /// The payment providers.
    #[serde(default)]
    pub providers: Vec<ProviderConfig>,
    /// A file of forms that customers can send in, in place of those that come with the program.
    #[serde(default)]
    pub forms: Forms,
    /// The staff who log in by name and password.
    #[serde(default)]
    pub staff: Vec<StaffConfig>,
    /// Fills an empty store with demonstration customers.
    #[serde(default)]
    pub demo: Option<DemoConfig>,
}

impl Config {
    /// How many shards there are.
    pub fn shard_count(&self) -> u16 {
        match &self.cluster {
            Some(cluster) => u16::try_from(cluster.engines.postgres.shards.len()).unwrap_or(u16::MAX),
            None => self.shards,
        }
    }

    /// The folder of the keys.
    pub fn keys_folder(&self) -> PathBuf {
        self.keys.clone().unwrap_or_else(|| self.data.join("keys"))
    }
}

/// The forms that customers can send in. In the settings it is the path of their file, which is read and checked with
/// them: a center whose forms are wrong does not start.
#[derive(Clone, Debug)]
pub struct Forms(Arc<FormBook>);

impl Forms {
    /// The forms.
    pub fn book(&self) -> Arc<FormBook> {
        Arc::clone(&self.0)
    }
}

impl Default for Forms {
    fn default() -> Self {
        Forms(Arc::new(FormBook::built_in()))
    }
}

impl<'de> Deserialize<'de> for Forms {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(d)?;
        let said = |error: &dyn Display| D::Error::custom(format!("{}: {error}", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|error| said(&error))?;
        FormBook::from_toml(&text).map(|book| Forms(Arc::new(book))).map_err(|error| said(&error))
    }
}

/// A payment provider, as configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Its short name.
    pub name: ShortName,
    /// Its page, to which a payer is sent with a signed order.
    pub pay_url: String,
    /// Its page on which a payer gives leave to be debited; absent: it makes no automatic debits.
    #[serde(default)]
    pub mandate_url: Option<String>,
    /// File of the 32-byte secret shared with it, readable by its owner only.
    pub secret_file: PathBuf,
}

/// A member of the staff.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaffConfig {
    /// Their name.
    pub name: ShortName,
    /// Their password's argon2 hash, as `gridesk staff hash` prints it.
    pub password_hash: PasswordHash,
    /// What they may do.
    pub roles: Vec<StaffRole>,
}

/// An argon2 hash in its PHC form (`$argon2id$…`).
#[derive(Clone, Debug)]
pub struct PasswordHash(argon2::password_hash::PasswordHashString);

impl PasswordHash {
    /// The hash itself.
    pub fn hash(&self) -> argon2::PasswordHash<'_> {
        self.0.password_hash()
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let hash = argon2::password_hash::PasswordHashString::new(&text).map_err(|error| {
            D::Error::custom(format!("no argon2 hash ({error}): make one by `gridesk staff hash`"))
        })?;
        Ok(PasswordHash(hash))
    }
}

/// Demonstration customers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoConfig {
    /// How many.
    pub customers: u32,
    /// The same seed gives the same customers.
    #[serde(default = "defaults::seed")]
    pub seed: u64,
}

mod defaults {
    use domain::late_fee::LateFeeRate;

    pub(super) fn shards() -> u16 {
        2
    }
    pub(super) fn lanes_per_shard() -> u16 {
        4
    }
    pub(super) fn readers() -> usize {
        4
    }
    pub(super) fn cache_entities() -> u64 {
        100_000
    }
    pub(super) fn lane_backlog() -> u64 {
        20_000
    }
    pub(super) fn late_fee() -> LateFeeRate {
        LateFeeRate::RESIDENTS
    }
    pub(super) fn cut_after_overdue_days() -> u16 {
        30
    }
    pub(super) fn reconnect_after_s() -> u32 {
        300
    }
    pub(super) fn export_keep_s() -> u32 {
        7 * 24 * 3600
    }
    pub(super) fn seed() -> u64 {
        2026
    }
}

/// A payment provider with its secret loaded.
#[derive(Clone)]
pub struct Provider {
    /// Its short name.
    pub name: ShortName,
    /// Its page.
    pub pay_url: String,
    /// Its page for mandates, where it makes automatic debits.
    pub mandate_url: Option<String>,
    /// The secret shared with it.
    pub secret: SharedSecret,
}

/// A secret that several tasks hold; it does not print.
#[derive(Clone)]
pub struct SharedSecret(std::sync::Arc<SecretKey>);

impl SharedSecret {
    /// Takes a key.
    pub fn new(key: SecretKey) -> Self {
        SharedSecret(std::sync::Arc::new(key))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }
}

impl ProviderConfig {
    /// Loads the provider's secret.
    pub fn load(&self) -> Result<Provider, SecretError> {
        let secret = SharedSecret::new(load_key(&self.secret_file)?);
        let (pay_url, mandate_url) = (self.pay_url.clone(), self.mandate_url.clone());
        Ok(Provider { name: self.name.clone(), pay_url, mandate_url, secret })
    }
}

/// See [`Config::file_expected_days`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u16")]
pub struct FileDays(u16);

impl FileDays {
    /// In ms.
    pub fn ms(self) -> u64 {
        u64::from(self.0) * 24 * 3600 * 1000
    }
}

impl Default for FileDays {
    fn default() -> Self {
        FileDays(8)
    }
}

impl TryFrom<u16> for FileDays {
    type Error = &'static str;

    fn try_from(days: u16) -> Result<Self, Self::Error> {
        if (8..=90).contains(&days) { Ok(FileDays(days)) } else { Err("between 8 and 90 days") }
    }
}
