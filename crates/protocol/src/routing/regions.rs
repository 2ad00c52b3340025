//! Region mode: accounts whose numbers begin alike are hashed over the buckets of their region's shards alone.
//!
//! An account's number is all that there is to place it by, in every program of the center, so the regions are set once in a
//! process ([`place_accounts`]) before any account is placed, and are the same for as long as the data is there. Whoever and
//! whatever is no account is hashed over all buckets.
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::ShardMap;
use crate::{AccountId, Bucket, ShardId, ids::BUCKETS};

/// Accounts that live in some shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// How their numbers begin: two digits name the province. The longest that fits counts.
    pub prefixes: Vec<String>,
    /// The shards.
    pub shards: Vec<ShardId>,
}

/// Why regions were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegionError {
    /// Not digits, or more than an account's number has.
    #[error("region prefix {0:?}: write one to twelve digits with which account numbers begin")]
    Prefix(String),
    /// Which of two regions is meant cannot be told.
    #[error("region prefix {0}: it is in two regions")]
    Twice(String),
    /// There is no such shard.
    #[error("region of {prefix}: there is no shard {shard}")]
    Shard {
        /// A prefix of the region.
        prefix: String,
        /// The shard.
        shard: ShardId,
    },
    /// Nothing can be placed by it.
    #[error("a region has at least one prefix and one shard")]
    Empty,
    /// Other regions were set before in this process.
    #[error("accounts are placed by other regions already")]
    Set,
}

/// Where accounts live, by the beginning of their numbers.
#[derive(Debug, PartialEq, Eq)]
struct Places(Vec<(String, Vec<u16>)>);

static PLACES: OnceLock<Places> = OnceLock::new();

/// Places accounts by these regions from now on; without any, by their numbers' hash alone.
///
/// # Errors
/// [`RegionError`].
pub fn place_accounts(regions: &[Region], map: &ShardMap) -> Result<(), RegionError> {
    if regions.is_empty() {
        return Ok(());
    }
    let places = Places::new(regions, map)?;
    let set = PLACES.get_or_init(|| Places(places.0.clone()));
    if *set == places { Ok(()) } else { Err(RegionError::Set) }
}

/// What regions there are, in words, as a database is marked with them.
pub fn describe(regions: &[Region]) -> String {
    let one = |region: &Region| {
        let shards: Vec<String> = region.shards.iter().map(ToString::to_string).collect();
        format!("{} in {}", region.prefixes.join(" "), shards.join(" "))
    };
    regions.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The bucket of an account.
pub(crate) fn bucket(account: AccountId) -> Bucket {
    let places = PLACES.get();
    places.and_then(|places| places.bucket(account)).unwrap_or_else(|| by_hash(account))
}

fn by_hash(account: AccountId) -> Bucket {
    Bucket::of(&account.number().to_be_bytes())
}

impl Places {
    fn new(regions: &[Region], map: &ShardMap) -> Result<Self, RegionError> {
        let mut places: Vec<(String, Vec<u16>)> = Vec::new();
        for Region { prefixes, shards } in regions {
            let Some(first) = prefixes.first().filter(|_| !shards.is_empty()) else {
                return Err(RegionError::Empty);
            };
            if let Some(shard) = shards.iter().find(|shard| shard.0 >= map.shards()) {
                return Err(RegionError::Shard { prefix: first.clone(), shard: *shard });
            }
            let here = |n: &u16| Bucket::try_from(*n).is_ok_and(|bucket| shards.contains(&map.shard(bucket)));
            let buckets: Vec<u16> = (0..BUCKETS).filter(here).collect();
            for prefix in prefixes {
                if !(1..=12).contains(&prefix.len()) || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(RegionError::Prefix(prefix.clone()));
                }
                if places.iter().any(|(known, _)| known == prefix) {
                    return Err(RegionError::Twice(prefix.clone()));
                }
                places.push((prefix.clone(), buckets.clone()));
            }
        }
        // The longest first.
        places.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
        Ok(Places(places))
    }

    fn bucket(&self, account: AccountId) -> Option<Bucket> {
        let number = account.to_string();
        let (_, buckets) = self.0.iter().find(|(prefix, _)| number.starts_with(prefix.as_str()))?;
        // As far among the region's buckets as its hash is among all.
        let at = usize::from(by_hash(account).number()) * buckets.len() / usize::from(BUCKETS);
        Bucket::try_from(*buckets.get(at)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn region(prefixes: &[&str], shards: &[u16]) -> Region {
        Region {
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
            shards: shards.iter().map(|n| ShardId(*n)).collect(),
        }
    }

    fn map() -> ShardMap {
        ShardMap::even(4, 4).unwrap()
    }

    #[test]
    fn accounts_live_in_their_regions_shards_and_are_spread_over_them() {
        let regions = [region(&["33", "31"], &[1, 3]), region(&["3301"], &[0])];
        let places = Places::new(&regions, &map()).unwrap();
        let shards = |province, first: u64| {
            let accounts = (first..first + 4_000).map(|n| AccountId::mint(province, n).unwrap());
            let buckets: HashSet<Bucket> = accounts.map(|account| places.bucket(account).unwrap()).collect();
            let shards: HashSet<u16> = buckets.iter().map(|bucket| map().shard(*bucket).0).collect();
            (shards, buckets.len())
        };
        let (found, buckets) = shards(33, 5_000_000_000);
        assert_eq!(found, HashSet::from([1, 3]));
        assert!(buckets > 1_500, "{buckets} of 2048");
        // The longer prefix.
        assert_eq!(shards(33, 100_000_000).0, HashSet::from([0]));
        assert_eq!(places.bucket(AccountId::mint(44, 5).unwrap()), None, "by its hash, anywhere");
    }

    #[test]
    fn regions_that_make_no_sense_are_refused() {
        let refused = |regions: &[Region]| Places::new(regions, &map()).unwrap_err().to_string();
        assert!(refused(&[region(&["3x"], &[0])]).contains("\"3x\""));
        assert!(refused(&[region(&[""], &[0])]).contains("one to twelve digits"));
        assert!(refused(&[region(&["33"], &[0]), region(&["33"], &[1])]).contains("in two regions"));
        assert!(refused(&[region(&["33"], &[4])]).contains("no shard 4"));
        assert_eq!(refused(&[region(&[], &[0])]), RegionError::Empty.to_string());
        assert_eq!(refused(&[region(&["33"], &[])]), RegionError::Empty.to_string());
    }

    #[test]
    fn an_account_is_placed_by_what_was_set_first() {
        let account = AccountId::mint(33, 77).unwrap();
        let regions = [region(&["33"], &[2])];
        assert_eq!(describe(&regions), "33 in 2");
        place_accounts(&[], &map()).unwrap();
        place_accounts(&regions, &map()).unwrap();
        assert_eq!(map().shard(account.bucket()), ShardId(2));
        assert_eq!(place_accounts(&[region(&["33"], &[1])], &map()), Err(RegionError::Set));
        assert_eq!(place_accounts(&regions, &map()), Ok(()));
    }
}
