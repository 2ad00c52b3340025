//! Where demonstration customers live: districts of the places whose tariffs are published.
use std::sync::LazyLock;

/// A district.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its GB/T 2260 code, six digits.
    pub(super) division: &'static str,
    /// Its province; empty where the city is one.
    pub(super) province: &'static str,
    /// Its city.
    pub(super) city: &'static str,
    /// The district itself.
    pub(super) district: &'static str,
}

impl Place {
    /// The district with all that it lies in, as one writes it in an address.
    pub(super) fn name(&self) -> String {
        format!("{}{}{}", self.province, self.city, self.district)
    }
}

/// All districts, by code.
pub(super) static PLACES: LazyLock<Vec<Place>> = LazyLock::new(|| {
    let place = |line: &'static str| match line.split(',').collect::<Vec<_>>()[..] {
        [division, province, city, district] => Some(Place { division, province, city, district }),
        _ => None,
    };
    let lines = include_str!("../../data/divisions.csv").lines();
    lines.filter(|line| !line.starts_with('#')).filter_map(place).collect()
});

/// Of a hundred customers, how many live where, by the beginning of the code.
const WEIGHTS: [(&str, u64); 6] =
    [("3301", 25), ("3302", 17), ("3303", 13), ("4401", 20), ("11", 12), ("31", 13)];

/// Picks a place by two numbers, among those that `covered` has a tariff for; `None` where it has none for any.
pub(super) fn pick(covered: impl Fn(&str) -> bool, city: u64, district: u64) -> Option<&'static Place> {
    let districts =
        |prefix: &'static str| PLACES.iter().filter(move |place| place.division.starts_with(prefix));
    let open = |prefix: &'static str| districts(prefix).any(|place| covered(place.division));
    let weights: Vec<_> = WEIGHTS.into_iter().filter(|(prefix, _)| open(prefix)).collect();
    let all: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut rest = city.checked_rem(all)?;
    for (prefix, weight) in weights {
        if rest < weight {
            let there: Vec<_> = districts(prefix).filter(|place| covered(place.division)).collect();
            return there.get(usize::try_from(district % there.len() as u64).unwrap_or(0)).copied();
        }
        rest -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_district_is_read() {
        assert_eq!(PLACES.len(), 78);
        assert!(PLACES.iter().all(|place| place.division.len() == 6 && !place.district.is_empty()));
        let west_lake = PLACES.iter().find(|place| place.division == "330106").unwrap();
        assert_eq!(west_lake.name(), "浙江省杭州市西湖区");
    }

    #[test]
    fn people_live_only_where_there_is_a_tariff() {
        assert!((0..1000).all(|n| pick(|code| code.starts_with("31"), n, n * 7).unwrap().city == "上海市"));
        assert_eq!(pick(|_| false, 1, 1), None);
    }
}
