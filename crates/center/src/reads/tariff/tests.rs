//! Comparisons and quotes against a calculation of their own, from the published prices written out again.
use domain::{
    demo::HouseholdShape,
    readings::{DayReadings, Quality},
};
use jiff::civil::date;
use proptest::prelude::*;
use protocol::{
    BillId,
    bounds::{PerMille, QuotedWh},
};
use storage::rows::{BillDetail, BillHead};

use super::*;

const BOOK: fn() -> &'static TariffBook = TariffBook::published;

fn account(province: u8, division: &str, tariff: &str) -> Account {
    Account {
        id: AccountId::mint(province, 77).unwrap(),
        holder: "样例".into(),
        phone: None,
        address: "样例路 1 号".into(),
        division: division.into(),
        tariff: tariff.parse().unwrap(),
        large_household: false,
        opened: Month::new(2019, 3).unwrap(),
        credit_fen: Fen(0),
        wrong_proofs: 0,
        proof_window_ms: 0,
    }
}

fn month(text: &str) -> Month {
    text.parse().unwrap()
}

/// A year of a home's readings, and bills that say how much was used before each month.
fn past(account: Account, to: Month, used_before_wh: i64, seed: u64) -> PastView {
    let shape = HouseholdShape::typical(&account.division, seed);
    let months = months_up_to(to);
    let days: Vec<DayReadings> = months.iter().flat_map(|m| m.dates()).map(|date| shape.day(date)).collect();
    let mut used = used_before_wh;
    let bill = |month: &Month| {
        if month.month() == 1 {
            used = 0;
        }
        let energy: Wh = days.iter().filter(|d| month.contains(d.date)).map(DayReadings::total).sum();
        let head = BillHead {
            id: BillId { account: account.id, month: *month },
            tariff: account.tariff.clone(),
            tariff_from: date(2006, 1, 1),
            energy_wh: energy,
            amount_fen: Fen(0),
            paid_fen: Fen(0),
            issued_on: month.next().first_day(),
            due_on: month.next().last_day(),
            late_fee: Default::default(),
        };
        let detail = BillDetail { lines: Vec::new(), used_before_wh: Wh(used), tier_limits_wh: Vec::new() };
        used += energy.0;
        (head, detail)
    };
    let bills = months.iter().map(bill).collect();
    PastView { account, days, bills, first_and_last: None }
}

/// Yuan for a month by the published table of a tariff.
fn by_hand(tariff: &str, hours: &[f64; 24], before: f64) -> f64 {
    let total: f64 = hours.iter().sum();
    let (limits, day) = match &tariff[..2] {
        "zj" => ([2760.0, 4800.0], 8..22),
        _ => ([3120.0, 4800.0], 6..22),
    };
    let above = |limit: f64| (before + total - limit).max(0.0) - (before - limit).max(0.0);
    let (second, third) = (above(limits[0]) - above(limits[1]), above(limits[1]));
    let peak: f64 = hours[day].iter().sum();
    let (peak, valley) = (peak, total - peak);
    match tariff {
        "zj-residential" => total * 0.538 + second * 0.05 + third * 0.30,
        "zj-residential-tou" => peak * 0.568 + valley * 0.288 + second * 0.05 + third * 0.30,
        "sh-residential" => total * 0.617 + second * 0.06 + third * 0.36,
        _ => {
            let share = if total > 0.0 { peak / total } else { 0.0 };
            let surcharge = |peak: f64, valley: f64| share * peak + (1.0 - share) * valley;
            peak * 0.617 + valley * 0.307 + second * surcharge(0.06, 0.03) + third * surcharge(0.36, 0.18)
        }
    }
}

fn compared(row: &PastView, to: Month) -> replies::TariffCompare {
    comparison(BOOK(), BOOK().get(row.account.tariff.as_str()).unwrap(), row, to)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_year_under_two_tariffs_is_what_one_works_out_by_hand(
        place in prop::sample::select(vec![(33u8, "330106", "zj"), (31, "310115", "sh")]),
        time_of_use: bool,
        before in 0i64..5_500_000,
        ends in (2024i16..2027, 1i8..=12),
        seed: u64,
    ) {
        let (province, division, name) = place;
        let own = format!("{name}-residential{}", if time_of_use { "-tou" } else { "" });
        let to = Month::new(ends.0, ends.1).unwrap();
        let row = past(account(province, division, &own), to, before, seed);
        let compared = compared(&row, to);
        prop_assert_eq!((compared.months.len(), compared.left_out.len(), compared.tariffs.len()), (12, 0, 2));
        prop_assert!(compared.tariffs[0].own && compared.tariffs[0].tariff.tariff.as_str() == own);
        let mut totals = [0.0; 2];
        for (month, (_, detail)) in compared.months.iter().zip(&row.bills) {
            let mut hours = [0.0; 24];
            for day in row.days.iter().filter(|day| month.month.contains(day.date)) {
                for (sum, slots) in hours.iter_mut().zip(day.slots.chunks(day.slots.len() / 24)) {
                    *sum += slots.iter().map(|slot| slot.0).sum::<i64>() as f64 / 1000.0;
                }
            }
            for (index, tariff) in compared.tariffs.iter().enumerate() {
                let before = detail.used_before_wh.0 as f64 / 1000.0;
                let expected = by_hand(tariff.tariff.tariff.as_str(), &hours, before);
                let found = month.amounts_fen[index].0 as f64 / 100.0;
                prop_assert!((found - expected).abs() < 0.035, "{month:?}: {found} for {expected}");
                totals[index] += found;
            }
        }
        for (total, tariff) in totals.iter().zip(&compared.tariffs) {
            prop_assert!((total * 100.0 - tariff.total_fen.0 as f64).abs() < 0.5);
        }
        let cheapest = compared.cheapest.unwrap();
        let difference = (compared.tariffs[0].total_fen - compared.tariffs[1].total_fen).0;
        prop_assert_eq!(cheapest.saves_fen.0, difference.abs());
        let index = usize::from(difference > 0);
        prop_assert_eq!(&cheapest.tariff, &compared.tariffs[index].tariff.tariff);
    }
}

#[test]
fn months_that_cannot_be_compared_are_left_out_and_still_count_in_the_tiers() {
    let to = month("2026-07");
    let mut row = past(account(33, "330106", "zj-residential"), to, 0, 7);
    let whole = compared(&row, to);
    // March has totals a day, April lacks a day, May lacks all, and what was used is known by the bills alone.
    for day in row.days.iter_mut().filter(|day| month("2026-03").contains(day.date)) {
        let total = day.total();
        *day = DayReadings::new(day.date, 86_400).unwrap();
        day.add(0, total, Quality::Valid).unwrap();
    }
    row.days.retain(|day| day.date != date(2026, 4, 9) && !month("2026-05").contains(day.date));
    row.bills.retain(|(head, _)| head.id.month < month("2026-06"));
    let part = compared(&row, to);
    let reasons: Vec<(String, domain::billing::LeftOut)> =
        part.left_out.iter().map(|left| (left.month.to_string(), left.reason)).collect();
    use domain::billing::LeftOut::{Coarse, Incomplete, Unread};
    assert_eq!(
        reasons,
        [("2026-03".into(), Coarse), ("2026-04".into(), Incomplete), ("2026-05".into(), Unread)]
    );
    let kept = |compared: &replies::TariffCompare| -> Vec<ComparedMonth> {
        let is_kept = |m: &&ComparedMonth| !(3..=5).contains(&m.month.month()) || m.month.year() == 2025;
        compared.months.iter().filter(is_kept).cloned().collect()
    };
    assert_eq!(kept(&part), kept(&whole), "June and July know what was used before them");
    assert_eq!(part.months.len(), 9);

    row.days.clear();
    let none = compared(&row, to);
    assert_eq!((none.months.len(), none.left_out.len(), none.cheapest), (0, 12, None));
}

#[test]
fn where_there_is_one_tariff_there_is_nothing_to_compare() {
    let to = month("2026-07");
    let one = compared(&past(account(44, "440106", "gz-residential"), to, 0, 7), to);
    assert_eq!((one.tariffs.len(), one.months.len(), one.cheapest), (1, 12, None));
    // A tariff that is not of the place is still the account's own.
    let moved = compared(&past(account(33, "330106", "bj-residential"), to, 0, 7), to);
    assert_eq!(moved.tariffs.len(), 3);
    assert!(moved.tariffs[0].own && moved.tariffs[0].tariff.tariff.as_str() == "bj-residential");
}

fn asked(tariff: Option<&str>, energy_wh: i64, valley: Option<u16>) -> requests::TariffQuote {
    requests::TariffQuote {
        account: AccountId::mint(33, 77).unwrap(),
        tariff: tariff.map(|id| id.parse().unwrap()),
        month: month("2026-08"),
        energy_wh: QuotedWh::try_from(energy_wh).unwrap(),
        valley_per_mille: valley.map(|share| PerMille::try_from(share).unwrap()),
        used_before_wh: QuotedWh::try_from(2_700_000).unwrap(),
    }
}

#[test]
fn a_quote_is_for_a_tariff_of_the_place() {
    let home = account(33, "330106", "zj-residential");
    let of = |asked: requests::TariffQuote| quote(BOOK(), &home, &asked);
    let own = of(asked(None, 100_000, None)).unwrap();
    assert_eq!((own.tariff.tariff.as_str(), own.amount_fen), ("zj-residential", Fen(3228 + 2352)));
    assert_eq!((own.used_before_wh, own.tier_limits_wh[0]), (Wh(2_700_000), Wh(2_760_000)));
    let sum: Fen = own.lines.iter().map(|line| line.amount_fen).sum();
    assert_eq!(sum, own.amount_fen);
    let other = of(asked(Some("zj-residential-tou"), 100_000, Some(400))).unwrap();
    assert_eq!(other.amount_fen, Fen(3408 + 1152 + 200));
    for wrong in [
        asked(Some("zj-residential-tou"), 100_000, None),
        asked(Some("bj-residential"), 100_000, None),
        asked(Some("nowhere"), 100_000, None),
    ] {
        assert_eq!(of(wrong).unwrap_err().code, Code::InvalidRequest);
    }
    let lost = account(33, "330106", "no-longer");
    assert_eq!(quote(BOOK(), &lost, &asked(None, 1, None)).unwrap_err().code, Code::Internal);
}
