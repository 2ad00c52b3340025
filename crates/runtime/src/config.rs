//! Settings: a TOML file, then the environment over it, into a type.
//!
//! Each crate owns its settings type, with `#[serde(deny_unknown_fields)]`: a mistyped key must be an error at the
//! start, not a default in production. Environment variables are named prefix, two underscores, and the keys joined
//! by two underscores: `GRIDESK_CENTER__LISTEN__PORT` sets `port` of `[listen]`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::secret::{ExposeSecret, SecretString};

/// Reads `T` from `file` (if given, it must exist) and from the environment variables that begin with
/// `env_prefix` and two underscores; the environment wins. What neither sets is up to `T`'s serde defaults.
///
/// # Errors
/// [`ConfigError`]: the first thing that is wrong, and where.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, env_prefix: &str) -> Result<T, ConfigError> {
    load_from(file, env_prefix, std::env::vars_os())
}

/// As [`load`], with the environment given.
///
/// # Errors
/// The same.
pub fn load_from<T: DeserializeOwned>(
    file: Option<&Path>,
    env_prefix: &str,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<T, ConfigError> {
    if let Some(path) = file {
        std::fs::File::open(path).map_err(|source| ConfigError {
            place: path.display().to_string(),
            problem: format!("cannot be read: {source}"),
        })?;
    }
    let mut variables = Variables::select(env_prefix, env);
    // `GRIDESK_X__TOKEN=12345` reads as a number; where the type wants text, it is taken as the text it was.
    for _ in 0..=variables.list.len() {
        let mut figment = Figment::new();
        if let Some(path) = file {
            figment = figment.merge(Toml::file_exact(path));
        }
        match figment.merge(&variables).extract::<T>() {
            Ok(settings) => return Ok(settings),
            Err(error) if variables.take_as_text(&error) => {}
            Err(error) => return Err(describe(error, file, &variables)),
        }
    }
    Err(ConfigError { place: env_prefix.to_owned(), problem: "cannot be read".to_owned() })
}

/// What is wrong with the settings and where: one line for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    /// The file or environment variable, with the key: ``edge.toml: key `listen.port` ``.
    pub place: String,
    /// What is wrong; never the value, which may be a secret.
    pub problem: String,
}

struct Variables {
    prefix: String,
    list: Vec<Variable>,
}

struct Variable {
    name: String,
    key: Vec<String>,
    text: String,
    as_text: bool,
}

impl Variables {
    fn select(prefix: &str, env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let start = format!("{prefix}__");
        let list = env
            .into_iter()
            .filter_map(|(name, text)| {
                let name = name.into_string().ok()?;
                let key = name.strip_prefix(&start)?.to_ascii_lowercase();
                let key = key.split("__").map(str::to_owned).collect();
                Some(Variable { name, key, text: text.to_string_lossy().into_owned(), as_text: false })
            })
            .collect();
        Self { prefix: prefix.to_owned(), list }
    }

    fn named(&self, key: &[String]) -> Option<&Variable> {
        self.list.iter().find(|variable| variable.key == key)
    }

    /// Whether `error` is a variable that was read as a number or boolean where text is wanted, now changed.
    fn take_as_text(&mut self, error: &figment::Error) -> bool {
        let Kind::InvalidType(
            Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_),
            _,
        ) = error.kind
        else {
            return false;
        };
        let wrong = self.list.iter_mut().find(|v| !v.as_text && v.key == error.path);
        wrong.map(|variable| variable.as_text = true).is_some()
    }
}

impl Provider for &Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut figment = Figment::new();
        for variable in &self.list {
            let value = match variable.as_text {
                true => Value::from(variable.text.clone()),
                false => match Value::from_str(&variable.text) {
                    Ok(value) => value,
                    Err(never) => match never {},
                },
            };
            let nested = variable
                .key
                .iter()
                .rev()
                .fold(value, |value, key| Value::from(Dict::from([(key.clone(), value)])));
            let top = nested.into_dict().unwrap_or_default();
            figment = figment.merge(Nested(top));
        }
        figment.data()
    }
}

struct Nested(Dict);

impl Provider for Nested {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

const ENVIRONMENT: &str = "environment";

fn describe(error: figment::Error, file: Option<&Path>, variables: &Variables) -> ConfigError {
    let mut key = error.path.clone();
    let problem = match &error.kind {
        Kind::UnknownField(field, known) => {
            if key.last() != Some(field) {
                key.push(field.clone());
            }
            match known.is_empty() {
                true => "unknown key".to_owned(),
                false => format!("unknown key; known are {}", known.join(", ")),
            }
        }
        Kind::MissingField(field) => {
            key.push(field.to_string());
            "is missing".to_owned()
        }
        Kind::UnknownVariant(_, known) => format!("must be one of {}", known.join(", ")),
        Kind::InvalidType(actual, expected) => format!("must be {expected}, not {}", type_name(actual)),
        Kind::InvalidValue(_, expected) => format!("must be {expected}"),
        Kind::InvalidLength(length, expected) => format!("has {length} items, must be {expected}"),
        Kind::Message(message) => message.trim_end().to_owned(),
        other => other.to_string(),
    };
    let from_env = error.metadata.as_ref().is_some_and(|m| m.name == ENVIRONMENT);
    let place = match (variables.named(&key), file) {
        (Some(variable), _) => variable.name.clone(),
        (None, Some(path)) if !from_env && key.is_empty() => path.display().to_string(),
        (None, Some(path)) if !from_env => format!("{}: key `{}`", path.display(), key.join(".")),
        _ => format!("{}__{}", variables.prefix, key.join("__").to_ascii_uppercase()),
    };
    ConfigError { place, problem }
}

fn type_name(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Bytes(_) => "bytes",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "what it is",
    }
}

/// A number of bytes, written `64 MiB`, `1 GiB`, `4096` or `"10 MB"`; units KiB, MiB, GiB, TiB (1024) and KB, MB,
/// GB, TB (1000). A plain number is bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// A length of time, written `250 ms`, `30s`, `5 min`, `2 h` or `7 d`. A unit is required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeSpan(pub Duration);

/// A number with a unit that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {expected}")]
pub struct UnitError {
    expected: &'static str,
}

const BYTE_UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

const TIME_UNITS_MS: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `"64 MiB"` → 64 × the unit's factor; `None` for anything that is not exactly digits, spaces, a known unit.
fn parse_with_unit(text: &str, units: &[(&str, u64)], no_unit: Option<u64>) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let factor = match unit.is_empty() {
        true => no_unit?,
        false => units.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let expected = "a size such as \"64 MiB\"";
        parse_with_unit(text, &BYTE_UNITS, Some(1)).map(Self).ok_or(UnitError { expected })
    }
}

impl FromStr for TimeSpan {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let ms = match parse_with_unit(text, &TIME_UNITS_MS, None) {
            None if text.trim() == "0" => Some(0),
            parsed => parsed,
        };
        let expected = "a time such as \"250 ms\", \"30s\" or \"5 min\"";
        ms.map(|ms| Self(Duration::from_millis(ms))).ok_or(UnitError { expected })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = BYTE_UNITS[..4]
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(&("B", 1));
        write!(f, "{} {unit}", self.0 / factor)
    }
}

impl fmt::Display for TimeSpan {
    /// Whole milliseconds, in the largest unit that divides them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.as_millis();
        let (unit, factor) = TIME_UNITS_MS
            .iter()
            .find(|(_, factor)| ms != 0 && ms.is_multiple_of(u128::from(*factor)))
            .unwrap_or(&("ms", 1));
        write!(f, "{} {unit}", ms / u128::from(*factor))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size such as \"64 MiB\"")]
        enum Form {
            Bytes(u64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            Form::Bytes(bytes) => Ok(Self(bytes)),
            Form::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for TimeSpan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<TimeSpan> for Duration {
    fn from(span: TimeSpan) -> Self {
        span.0
    }
}

/// The path of the settings file named by the environment variable `name`, if it is set and not empty.
pub fn file_from_env(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|path| !path.is_empty()).map(PathBuf::from)
}

#[cfg(test)]
mod tests;
