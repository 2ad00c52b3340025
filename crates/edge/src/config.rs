//! The edge's settings.
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use protocol::{
    bounds::{ShortName, Text},
    catalogue::replies::RequestKind,
};
use runtime::config::TimeSpan;
use serde::{Deserialize, Deserializer, de::Error as _};

pub use crate::files::KindRules;

/// Settings of an edge: a TOML file, `GRIDESK_EDGE__…` in the environment over it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where customers and channels connect; port 0 takes a free one.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// How the outside reaches this listener: `https://my.utility.example`. Without a slash at the end.
    pub public_url: String,
    /// The edge's own folder; no other process opens it.
    pub data: PathBuf,
    /// The folder of the gates: each has a folder of its own in it, where its outer half listens at
    /// [`messages.sock`](crate::gates::MESSAGES) and [`files.sock`](crate::gates::FILES). They may come and go.
    pub gates: PathBuf,
    /// Users, besides this process's own, whom the gates may run as.
    #[serde(default)]
    pub allowed_uids: Vec<u32>,
    /// The telephone number that customers call, also in an emergency: 95598, that of China's two grid companies, unless
    /// set.
    #[serde(default = "default_hotline")]
    pub hotline: Text<20>,
    /// Who carries short messages.
    pub sms: Sms,
    /// Where the payment providers take instructions (debits that run by themselves, refunds), by their names.
    #[serde(default)]
    pub providers: BTreeMap<ShortName, ProviderConfig>,
    /// A Unix socket for `/healthz`, `/readyz` and `/metrics`.
    #[serde(default)]
    pub inside: Option<PathBuf>,
    /// How much at once.
    #[serde(default)]
    pub limits: Limits,
    /// Files that customers send in.
    #[serde(default, deserialize_with = "checked_files")]
    pub files: FileSettings,
}

/// Rules that cannot be meant are found where the settings are read, so that `config check` finds them too.
fn checked_files<'de, D: Deserializer<'de>>(from: D) -> Result<FileSettings, D::Error> {
    let files = FileSettings::deserialize(from)?;
    files.check_rules().map_err(D::Error::custom)?;
    Ok(files)
}

fn default_hotline() -> Text<20> {
    Text::new("95598").unwrap_or_default()
}

/// What the edge does with files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettings {
    /// Connections to each gate: as many files cross it at once.
    pub connections: u32,
    /// What may pass, by its content.
    pub rules: inspect::Rules,
    /// What is otherwise for the files of a kind of request: `fault`, `consult`, `complaint`, `suggestion`.
    pub kinds: BTreeMap<RequestKind, KindRules>,
    /// What is otherwise for the files of a form, by its id; it goes before its kind.
    pub forms: BTreeMap<ShortName, KindRules>,
    /// Where clamd listens, `host:port` or a path, if it is to be asked about every file. While it is away nothing passes.
    pub clamd: Option<inspect::clamd::Address>,
    /// How many files of one customer may be here at once, and how many bytes.
    pub customer_files: u32,
    /// See `customer_files`.
    pub customer_bytes: u64,
    /// How many bytes that came over one channel may be here at once.
    pub channel_bytes: u64,
    /// How many bytes may be here in all.
    pub bytes: u64,
    /// So much of the disk stays free, in bytes.
    pub keep_free_bytes: u64,
    /// How long bytes are kept after their receipt is here.
    pub keep_after_receipt: TimeSpan,
    /// Uploads under way at once; more are answered `503 overloaded`.
    pub uploads: usize,
    /// Files that the center makes, and customers fetch.
    pub fetched: FetchedSettings,
}

impl Default for FileSettings {
    fn default() -> Self {
        const GIB: u64 = 1 << 30;
        FileSettings {
            connections: 32,
            rules: inspect::Rules::default(),
            kinds: BTreeMap::new(),
            forms: BTreeMap::new(),
            clamd: None,
            customer_files: 100,
            customer_bytes: GIB / 4,
            channel_bytes: 64 * GIB,
            bytes: 128 * GIB,
            keep_free_bytes: GIB,
            keep_after_receipt: TimeSpan(Duration::from_secs(24 * 3600)),
            uploads: 256,
            fetched: FetchedSettings::default(),
        }
    }
}

/// What the edge does with files that it fetches from inside for customers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchedSettings {
    /// No longer file is fetched, in bytes.
    pub file_bytes_max: u64,
    /// How many bytes of them are kept; the oldest give way.
    pub bytes: u64,
    /// How long a file is kept for who asks again.
    pub keep: TimeSpan,
    /// Fetches under way at once; more wait.
    pub at_once: usize,
    /// How long a fetch may take, with all its tries.
    pub within: TimeSpan,
}

impl Default for FetchedSettings {
    fn default() -> Self {
        FetchedSettings {
            file_bytes_max: 256 << 20,
            bytes: 8 << 30,
            keep: TimeSpan(Duration::from_secs(24 * 3600)),
            at_once: 8,
            within: TimeSpan(Duration::from_secs(60)),
        }
    }
}

/// How a payment provider is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Instructions are sent here, exactly as the center signed them.
    pub instructions_url: String,
}

/// A carrier of short messages.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Sms {
    /// The message inbox of `gridesk sim`: `POST {url}/inbox/messages`.
    Sim {
        /// Its address, without a slash at the end.
        url: String,
    },
}

/// How much the edge takes on at once, and for how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests worked on at once; more are answered `503 overloaded`.
    pub in_flight: usize,
    /// Connections open at once; more wait to be accepted.
    pub connections: usize,
    /// Connections open at once from one source (an IPv4 address or an IPv6 /64); more are closed at once. 0: as many
    /// as there are. Behind a balancer all come from the balancer: set this and the next two to 0 there.
    pub connections_per_source: usize,
    /// Requests of one source in a second, on average and at once; more are answered `429 too_many_requests`. 0: no
    /// limit.
    pub requests_per_second: u32,
    /// Requests of one source in a minute that have a one-time code sent (to log in, to bind an account), on average
    /// and at once; more are answered `429 too_many_requests`. 0: no limit.
    pub login_starts_per_minute: u32,
    /// How long a client may take to send a request's head, and stay idle between requests.
    pub head_within: TimeSpan,
    /// How long a client may take to send a request's body.
    pub body_within: TimeSpan,
    /// How long a client may read nothing of what is written to it.
    pub write_within: TimeSpan,
    /// How long open requests may take to end after the shutdown began.
    pub drain_within: TimeSpan,
    /// Pushes kept at once that are not delivered yet; more are not taken, and the center tries again later.
    pub pushes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            in_flight: 2048,
            connections: 8192,
            connections_per_source: 1024,
            requests_per_second: 5000,
            login_starts_per_minute: 120,
            head_within: TimeSpan(Duration::from_secs(10)),
            body_within: TimeSpan(Duration::from_secs(10)),
            write_within: TimeSpan(Duration::from_secs(10)),
            drain_within: TimeSpan(Duration::from_secs(5)),
            pushes: 100_000,
        }
    }
}

fn default_listen() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 8080).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, runtime::config::ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("edge.toml");
        std::fs::write(&file, text).unwrap();
        runtime::config::load_from(Some(&file), "GRIDESK_EDGE", [])
    }

    const LEAST: &str =
        "public_url = 'http://x'\ndata = 'd'\ngates = 'gates'\n[sms]\nkind = 'sim'\nurl = 'http://s'";

    #[test]
    fn the_least_settings_are_enough_and_a_mistyped_one_is_an_error() {
        let config = load(LEAST).unwrap();
        assert_eq!((config.limits.in_flight, config.listen.port()), (2048, 8080));
        let wrong = load(&format!("{LEAST}\n[limits]\nin_flght = 1")).unwrap_err();
        assert!(wrong.to_string().contains("in_flght"), "{wrong}");
        assert!(load(&LEAST.replace("'sim'", "'pigeon'")).is_err());
    }

    #[test]
    fn rules_of_a_kind_of_request_that_cannot_be_meant_are_found_where_they_are_read() {
        let good = "[files.kinds.complaint]\nallowed = ['pdf']\n[files.forms.x]\nfiles_max = 2";
        let files = load(&format!("{LEAST}\n{good}")).unwrap().files;
        assert_eq!((files.kinds.len(), files.forms.len()), (1, 1));
        for (wrong, said) in [
            ("[files.kinds.complant]\nfiles_max = 1", "complant"),
            ("[files.kinds.fault]\nallowed = ['exe']", "files.kinds.fault.allowed"),
            ("[files.kinds.fault]\nallowed = ['zip']", "files.kinds.fault.allowed"),
            ("[files.kinds.fault]\nsize_bytes_max = 20971521", "files.kinds.fault.size_bytes_max"),
            ("[files.forms.'no form!']\nfiles_max = 1", "short name"),
            ("[files.rules]\nneeds_person = ['zip']", "files.rules"),
        ] {
            let found = load(&format!("{LEAST}\n{wrong}")).unwrap_err().to_string();
            assert!(found.contains(said) && found.contains("edge.toml"), "{wrong}: {found}");
        }
    }
}
