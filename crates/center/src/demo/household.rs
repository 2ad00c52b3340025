//! Who a demonstration household is: everything about it but its readings, from the seed and its number.
use domain::{
    billing::{BillTerms, VersionChoice},
    tariff::{self, Tariff, TariffBook},
};
use protocol::{AccountId, Bucket, CustomerId, bounds::Phone, catalogue::phone_identity, ids::BUCKETS};

use super::{
    BOUND, DemoError,
    place::{self, PLACES, Place},
};

/// The number of the first customer's second home. Its phone is its own; its customer is the first's.
pub(super) const SECOND_HOME: u32 = 0;
/// The household that asks "why is my bill higher?".
pub(super) const FIRST_HOME: u32 = 1;

/// Account numbers are this far apart, so that one with a wanted bucket can be looked for in between.
const SERIAL_STEP: u64 = 1000;

const SURNAMES: [&str; 3] = ["样例", "示例", "虚构"];
const GIVEN: [&str; 24] = [
    "晨", "远", "秋", "听", "临", "望", "知", "若", "清", "云", "星", "明", "松", "竹", "南", "北", "安",
    "宁", "乐", "思", "语", "墨", "青", "白",
];
const GIVEN_2: [&str; 24] = [
    "光", "山", "水", "雨", "川", "月", "夏", "谷", "溪", "舟", "河", "石", "风", "林", "音", "禾", "和",
    "泽", "然", "源", "桥", "尘", "野", "舒",
];
const ROADS: [&str; 6] = ["样例路", "示例街", "虚构大道", "样板巷", "样例新村", "示例东路"];

/// Which bills are paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All.
    Paid,
    /// All but the newest.
    NewestOpen,
    /// All but the newest two, the older of which is overdue.
    Overdue,
    /// All, and the newest with more than it asked for.
    Credit,
}

/// A demonstration household.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Household {
    pub(super) n: u32,
    pub(super) seed: u64,
    pub(super) account: AccountId,
    /// The accounts of its customer, this one among them.
    pub(super) accounts: Vec<AccountId>,
    pub(super) phone: Phone,
    pub(super) customer: CustomerId,
    pub(super) holder: String,
    pub(super) place: &'static Place,
    pub(super) address: String,
    pub(super) tariff: tariff::TariffId,
    pub(super) time_of_use: bool,
    pub(super) large: bool,
    pub(super) standing: Standing,
    /// Since when it has been supplied, month and year.
    pub(super) opened: (i16, i8),
}

impl Household {
    /// The household of a number: 0 is the first customer's second home.
    pub(super) fn of(seed: u64, n: u32, tariffs: &TariffBook) -> Result<Household, DemoError> {
        let mut dice = Dice::new(seed, n, "household");
        let place = place_of(n, tariffs, dice.roll(), dice.roll())?;
        let tariff = tariff_of(n, place, tariffs, dice.below(100))?;
        let large =
            tariff.versions.iter().any(|v| v.large_household_extra_kwh.is_some()) && dice.below(100) < 12;
        let drawn = standing(dice.below(100));
        let phone = phone(if n == SECOND_HOME { FIRST_HOME } else { n })?;
        let other = match n {
            SECOND_HOME => Some(FIRST_HOME),
            FIRST_HOME => Some(SECOND_HOME),
            _ => None,
        };
        let account = account(n, place)?;
        let mut accounts = vec![account];
        if let Some(other) = other {
            let mut dice = Dice::new(seed, other, "household");
            accounts.push(self::account(other, place_of(other, tariffs, dice.roll(), dice.roll())?)?);
        }
        let identity = Bucket::of_identity(&phone_identity(&phone));
        let customer = CustomerId::mint(identity, Dice::new(seed, n.max(FIRST_HOME), "customer").bits());
        Ok(Household {
            n,
            seed,
            account,
            accounts,
            phone: self::phone(n)?,
            customer,
            holder: holder(&mut Dice::new(seed, n.max(FIRST_HOME), "holder")),
            place,
            address: address(place, &mut dice),
            tariff: tariff.id.clone(),
            time_of_use: tariff.is_time_of_use(),
            large,
            // The first phones show one of each.
            standing: match n {
                SECOND_HOME | 2 => Standing::Paid,
                FIRST_HOME => Standing::NewestOpen,
                3 => Standing::Overdue,
                4 => Standing::Credit,
                _ => drawn,
            },
            opened: (2008 + dice.below(14) as i16, 1 + dice.below(12) as i8),
        })
    }

    /// Whether its phone logs in to its account without binding it first.
    pub(super) fn is_bound(&self) -> bool {
        self.n <= BOUND
    }

    /// What its contract says.
    pub(super) fn terms(&self) -> BillTerms {
        let household = if self.large { tariff::Household::Large } else { tariff::Household::Ordinary };
        // Named: where an operator's tariff is younger than the readings, its first version bills them.
        BillTerms { household, version: VersionChoice::Named, ..BillTerms::default() }
    }

    /// What is behind its phone, in English.
    pub(super) fn note(&self) -> String {
        let mut note = format!("{}, {}", self.place.name(), self.tariff);
        if self.large {
            note.push_str(", large household");
        }
        note.push_str(match self.standing {
            Standing::Paid => ", all bills paid",
            Standing::NewestOpen => ", newest bill open",
            Standing::Overdue => ", one bill overdue",
            Standing::Credit => ", paid too much: some credit",
        });
        if self.n == FIRST_HOME {
            note.push_str(" and into a higher tier; a second account elsewhere");
        }
        note
    }
}

fn standing(percent: u64) -> Standing {
    match percent {
        0..55 => Standing::Paid,
        55..90 => Standing::NewestOpen,
        90..98 => Standing::Overdue,
        _ => Standing::Credit,
    }
}

fn place_of(n: u32, tariffs: &TariffBook, city: u64, district: u64) -> Result<&'static Place, DemoError> {
    let fixed = match n {
        FIRST_HOME => Some("330106"),
        SECOND_HOME => Some("440106"),
        _ => None,
    };
    let covered = |division: &str| tariffs.for_division(division).is_some();
    PLACES
        .iter()
        .find(|place| Some(place.division) == fixed && covered(place.division))
        .or_else(|| place::pick(covered, city, district))
        .ok_or(DemoError::NoTariff)
}

/// Four in ten are billed by time of use where that is offered, which makes some 27 of a hundred in all.
fn tariff_of<'a>(
    n: u32,
    place: &Place,
    tariffs: &'a TariffBook,
    percent: u64,
) -> Result<&'a Tariff, DemoError> {
    let there = tariffs.for_division(place.division).ok_or(DemoError::NoTariff)?;
    let wanted = if n > FIRST_HOME && percent < 40 { there.time_of_use } else { there.single };
    wanted.or(there.single).or(there.time_of_use).ok_or(DemoError::NoTariff)
}

/// The first two are put far apart in the buckets, so that with more than one shard they are in different ones.
fn account(n: u32, place: &Place) -> Result<AccountId, DemoError> {
    let fits = |account: &AccountId| match n {
        FIRST_HOME => account.bucket().number() < BUCKETS / 4,
        SECOND_HOME => account.bucket().number() >= BUCKETS / 4 * 3,
        _ => true,
    };
    let province =
        place.division.get(..2).and_then(|digits| digits.parse().ok()).ok_or(DemoError::NoTariff)?;
    let first = u64::from(n) * SERIAL_STEP;
    let serials = first..first + SERIAL_STEP;
    serials.filter_map(|serial| AccountId::mint(province, serial)).find(fits).ok_or(DemoError::TooMany(n))
}

/// 199 0000 0000 and up.
pub(super) fn phone(n: u32) -> Result<Phone, DemoError> {
    format!("199{n:08}").parse().map_err(|_| DemoError::TooMany(n))
}

fn holder(dice: &mut Dice) -> String {
    format!("{}·{}{}", dice.one_of(&SURNAMES), dice.one_of(&GIVEN), dice.one_of(&GIVEN_2))
}

fn address(place: &Place, dice: &mut Dice) -> String {
    let (road, number, building) = (dice.one_of(&ROADS), 1 + dice.below(200), 1 + dice.below(24));
    let (floor, door) = (1 + dice.below(18), 1 + dice.below(4));
    format!("{}{road} {number} 号 {building} 幢 {floor}{door:02} 室", place.name())
}

/// Numbers that follow from the seed, a household and what they are for: the same on every machine, for ever.
pub(super) struct Dice(blake3::OutputReader);

impl Dice {
    pub(super) fn new(seed: u64, n: u32, purpose: &str) -> Dice {
        let mut hash = blake3::Hasher::new_derive_key("gridesk demonstration customers v1");
        hash.update(&seed.to_le_bytes()).update(&n.to_le_bytes()).update(purpose.as_bytes());
        Dice(hash.finalize_xof())
    }

    pub(super) fn roll(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn bits(&mut self) -> u128 {
        u128::from(self.roll()) << 64 | u128::from(self.roll())
    }

    /// A number from 0 to below `n`, which is above zero.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn one_of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let index = self.below(words.len() as u64);
        words.get(usize::try_from(index).unwrap_or(0)).copied().unwrap_or_default()
    }
}
