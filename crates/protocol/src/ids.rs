//! Typed ids. Every id carries its bucket, so that any node finds the shard of anything by its id alone.
use std::{fmt, str::FromStr};

use data_encoding::{Encoding, Specification};
use domain::calendar::Month;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use xxhash_rust::xxh3::xxh3_64;

/// How many buckets there are; fixed for ever, because ids carry them.
pub const BUCKETS: u16 = 4096;

/// One of the 4,096 parts into which all data is divided. Buckets move between lanes and shards; nothing is ever
/// re-hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Bucket(u16);

impl Bucket {
    /// The first bucket.
    pub const FIRST: Bucket = Bucket(0);

    /// The bucket a key belongs to: xxh3 of its bytes, modulo 4,096.
    pub fn of(key: &[u8]) -> Self {
        Bucket((xxh3_64(key) % u64::from(BUCKETS)) as u16)
    }

    /// The bucket of a verified way to recognise somebody, such as `phone:13800000000`.
    pub fn of_identity(identity: &str) -> Self {
        Self::of(identity.as_bytes())
    }

    /// The bucket of what belongs to a district, by its GB/T 2260 code: its outages.
    pub fn of_division(division: &str) -> Self {
        Self::of(format!("division:{division}").as_bytes())
    }

    /// The bucket's number, 0 to 4,095.
    pub fn number(self) -> u16 {
        self.0
    }
}

impl TryFrom<u16> for Bucket {
    type Error = IdError;
    fn try_from(n: u16) -> Result<Self, IdError> {
        if n < BUCKETS { Ok(Bucket(n)) } else { Err(IdError::Bucket(n)) }
    }
}

impl From<Bucket> for u16 {
    fn from(b: Bucket) -> u16 {
        b.0
    }
}

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No such bucket.
    #[error("bucket {0} does not exist: there are {BUCKETS}")]
    Bucket(u16),
    /// Not 13 digits, or the check digit is wrong.
    #[error("an account number has 13 digits, the last of which is a check digit")]
    Account,
    /// Wrong prefix, length or alphabet.
    #[error("not an id of the form {0}_ and 26 letters and digits")]
    Form(&'static str),
    /// Not an account number and a month.
    #[error("a bill is named by its account number and month, as 3300000020009-2026-01")]
    Bill,
}

/// The number of a supply contract (用电户号): 13 digits, the last a Luhn check digit. The key by which data is sharded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(u64);

impl AccountId {
    /// Makes an account number from a two-digit province code and a serial of up to ten digits, adding the check digit.
    /// `None` where either is out of range.
    pub fn mint(province: u8, serial: u64) -> Option<Self> {
        if !(10..=99).contains(&province) || serial >= 10_000_000_000 {
            return None;
        }
        let body = u64::from(province) * 10_000_000_000 + serial;
        Some(AccountId(body * 10 + luhn_digit(body)))
    }

    /// Checks a number that came from outside.
    pub fn from_number(number: u64) -> Result<Self, IdError> {
        let in_range = (1_000_000_000_000..10_000_000_000_000).contains(&number);
        if in_range && luhn_digit(number / 10) == number % 10 {
            Ok(AccountId(number))
        } else {
            Err(IdError::Account)
        }
    }

    /// The 13-digit number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The account's bucket: by its hash, within its region where there are regions.
    pub fn bucket(self) -> Bucket {
        crate::routing::regions::bucket(self)
    }
}

/// The digit that makes the Luhn sum (ISO/IEC 7812-1, annex B) of `body` and itself a multiple of ten.
fn luhn_digit(mut body: u64) -> u64 {
    let (mut sum, mut double) = (0, true);
    while body > 0 {
        let digit = body % 10;
        sum += match (double, digit * 2) {
            (true, d) if d > 9 => d - 9,
            (true, d) => d,
            (false, _) => digit,
        };
        double = !double;
        body /= 10;
    }
    (10 - sum % 10) % 10
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:013}", self.0)
    }
}

impl FromStr for AccountId {
    type Err = IdError;
    /// Thirteen digits; spaces between them are allowed, as people group them for reading.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() > 32 {
            return Err(IdError::Account);
        }
        let digits: String = text.chars().filter(|c| *c != ' ').collect();
        if digits.len() != 13 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdError::Account);
        }
        Self::from_number(digits.parse().map_err(|_| IdError::Account)?)
    }
}

impl Serialize for AccountId {
    /// Text for people (JSON), a number for machines (postcard).
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            <std::borrow::Cow<'de, str>>::deserialize(d)?.parse().map_err(D::Error::custom)
        } else {
            Self::from_number(u64::deserialize(d)?).map_err(D::Error::custom)
        }
    }
}

domain::text_schema!(
    AccountId,
    "^[1-9][0-9]{12}$",
    13,
    "The number of a supply contract (用电户号): 13 digits, the last a Luhn check digit.",
    "3300000020009"
);

/// A bill: the account and the month it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BillId {
    /// Whose bill.
    pub account: AccountId,
    /// The calendar month it charges.
    pub month: Month,
}

domain::text_schema!(
    BillId,
    "^[1-9][0-9]{12}-[0-9]{4}-(0[1-9]|1[0-2])$",
    21,
    "A bill: the account's number and the month it charges.",
    "3300000020009-2026-10"
);

impl fmt::Display for BillId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.account, self.month)
    }
}

impl FromStr for BillId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (account, month) = text.split_once('-').ok_or(IdError::Bill)?;
        Ok(BillId { account: account.parse()?, month: month.parse().map_err(|_| IdError::Bill)? })
    }
}

impl Serialize for BillId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { (self.account, self.month).serialize(s) }
    }
}

impl<'de> Deserialize<'de> for BillId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if !d.is_human_readable() {
            let (account, month) = Deserialize::deserialize(d)?;
            return Ok(BillId { account, month });
        }
        <std::borrow::Cow<'de, str>>::deserialize(d)?.parse().map_err(D::Error::custom)
    }
}

/// Crockford's base 32, lower case: no i, l, o, u, which people mistake.
static CROCKFORD: std::sync::LazyLock<Encoding> = std::sync::LazyLock::new(|| {
    let mut spec = Specification::new();
    spec.symbols.push_str("0123456789abcdefghjkmnpqrstvwxyz");
    spec.check_trailing_bits = true;
    match spec.encoding() {
        Ok(encoding) => encoding,
        Err(_) => data_encoding::BASE32HEX_NOPAD,
    }
});

fn write_id(f: &mut fmt::Formatter<'_>, prefix: &str, bits: u128) -> fmt::Result {
    write!(f, "{prefix}_{}", CROCKFORD.encode(&bits.to_be_bytes()))
}

fn parse_id(prefix: &'static str, text: &str) -> Result<u128, IdError> {
    let bad = || IdError::Form(prefix);
    let body = text.strip_prefix(prefix).and_then(|t| t.strip_prefix('_')).ok_or_else(bad)?;
    if body.len() != 26 {
        return Err(bad());
    }
    let bytes = CROCKFORD.decode(body.as_bytes()).map_err(|_| bad())?;
    Ok(u128::from_be_bytes(bytes.try_into().map_err(|_| bad())?))
}

/// Puts a bucket into the top 12 of 128 bits.
fn with_bucket(bucket: Bucket, entropy: u128) -> u128 {
    (u128::from(bucket.0) << 116) | (entropy >> 12)
}

macro_rules! bucketed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        ///
        /// 128 bits: the bucket in the top 12, the rest from a hash or a random source. As text: the prefix, `_`, and
        /// 26 characters of Crockford base 32.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// Makes an id that lives in `bucket`.
            pub fn mint(bucket: Bucket, entropy: u128) -> Self {
                $name(with_bucket(bucket, entropy))
            }
            /// Takes an id's 128 bits as they were stored.
            pub fn from_bits(bits: u128) -> Self {
                $name(bits)
            }
            /// The 128 bits.
            pub fn bits(self) -> u128 {
                self.0
            }
            /// Where what it names lives.
            pub fn bucket(self) -> Bucket {
                Bucket((self.0 >> 116) as u16)
            }
        }

        domain::text_schema!(
            $name,
            // The last character holds three bits.
            concat!("^", $prefix, "_[0-9a-hjkmnp-tv-z]{25}[048cgmrw]$"),
            29,
            concat!("An id: `", $prefix, "_` and 26 letters and digits. It tells nothing and never changes."),
            concat!($prefix, "_02h6pn3xg4z5ckq8r7y1m0v9ec")
        );

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_id(f, $prefix, self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_id($prefix, text).map($name)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.collect_str(self) } else { self.0.to_be_bytes().serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    <std::borrow::Cow<'de, str>>::deserialize(d)?.parse().map_err(D::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(d).map(|b| $name(u128::from_be_bytes(b)))
                }
            }
        }
    };
}

bucketed_id!(
    /// A write that was accepted, or is about to be.
    OperationId,
    "op"
);
bucketed_id!(
    /// A person or company.
    CustomerId,
    "cu"
);
bucketed_id!(
    /// A customer's log-in.
    SessionId,
    "se"
);
bucketed_id!(
    /// A one-time code that was asked for.
    ChallengeId,
    "ch"
);
bucketed_id!(
    /// A payment, from the order to the receipt.
    PaymentId,
    "py"
);
bucketed_id!(
    /// Money of a payment on its way back to who paid.
    RefundId,
    "rf"
);
bucketed_id!(
    /// A customer's leave to debit them for an account's bills (自动缴费).
    MandateId,
    "md"
);
bucketed_id!(
    /// Something sent outward: a one-time code, a notice.
    PushId,
    "pu"
);

bucketed_id!(
    /// Something a customer asked the service to do (工单): a fault report, a complaint, a question.
    ServiceRequestId,
    "rq"
);
bucketed_id!(
    /// A file that a customer sends in with a request. It is also the id of its crossing.
    FileId,
    "fi"
);
bucketed_id!(
    /// A time without power at a place, planned or not.
    OutageId,
    "ou"
);
bucketed_id!(
    /// A file that is made for a customer: an export of their use, an invoice.
    ExportId,
    "ex"
);

impl ExportId {
    /// The same as the id of a file: how its ticket names it.
    pub fn file(self) -> FileId {
        FileId(self.0)
    }
}

impl OperationId {
    /// The id of the write that `client`, speaking for `subject`, asks for under `key`: retries get the same id.
    ///
    /// `subject` is the customer, or what stands for one before log-in.
    pub fn derive(bucket: Bucket, client: &str, subject: &str, key: &str) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("gridesk operation id v1");
        for part in [client, subject, key] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        Self::mint(bucket, first_128(&hash.finalize()))
    }

    /// The id of the `n`-th operation that `self` causes elsewhere.
    pub fn child(self, bucket: Bucket, n: u16) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("gridesk child operation id v1");
        hash.update(&self.0.to_be_bytes());
        hash.update(&n.to_be_bytes());
        Self::mint(bucket, first_128(&hash.finalize()))
    }
}

fn first_128(hash: &blake3::Hash) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn account_numbers_have_a_check_digit() {
        let account = AccountId::mint(33, 1).unwrap();
        assert_eq!(account.to_string().len(), 13);
        assert_eq!(account.to_string().parse(), Ok(account));
        let text = account.to_string();
        for (i, c) in text.char_indices() {
            let other = if c == '9' { '0' } else { char::from(c as u8 + 1) };
            let mut wrong = text.clone();
            wrong.replace_range(i..=i, &other.to_string());
            assert_eq!(
                wrong.parse::<AccountId>(),
                Err(IdError::Account),
                "one wrong digit at {i} goes unnoticed"
            );
        }
        assert!("33000000000171".parse::<AccountId>().is_err());
        assert!("".parse::<AccountId>().is_err());
        assert!(AccountId::mint(9, 1).is_none());
    }

    #[test]
    fn an_operation_id_depends_on_each_part_and_on_their_boundaries() {
        let b = Bucket::of(b"x");
        let id = OperationId::derive(b, "portal", "cu", "k1");
        assert_eq!(id, OperationId::derive(b, "portal", "cu", "k1"));
        assert_ne!(id, OperationId::derive(b, "porta", "lcu", "k1"));
        assert_ne!(id, OperationId::derive(b, "portal", "cu", "k2"));
        assert_ne!(id.child(b, 0), id.child(b, 1));
        assert_eq!(id.bucket(), b);
    }

    proptest! {
        #[test]
        fn ids_survive_text_json_and_postcard(bits: u128) {
            let id = OperationId::from_bits(bits);
            prop_assert_eq!(id.to_string().parse::<OperationId>().unwrap(), id);
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<OperationId>(&json).unwrap(), id);
            let bytes = postcard::to_stdvec(&id).unwrap();
            prop_assert_eq!(postcard::from_bytes::<OperationId>(&bytes).unwrap(), id);
            prop_assert!(id.bucket().number() < BUCKETS);
        }

        #[test]
        fn hostile_id_texts_never_panic(text in ".{0,64}") {
            let _ = text.parse::<OperationId>();
            let _ = text.parse::<AccountId>();
            let _ = text.parse::<BillId>();
        }
    }
}
