//! Published bills to the fen, and the rules that hold for all bills.
use proptest::prelude::*;

use super::*;
use crate::tariff::TariffBook;

fn month(text: &str) -> Month {
    text.parse().unwrap()
}

fn tariff(id: &str) -> &'static Tariff {
    TariffBook::published().get(id).unwrap()
}

/// A month with some energy at 10:00 (peak everywhere) and some at 23:00 (valley everywhere).
fn usage(of: Month, peak_wh: i64, valley_wh: i64) -> UsageMonth {
    let mut hours = [Wh(0); 24];
    hours[10] = Wh(peak_wh);
    hours[23] = Wh(valley_wh);
    UsageMonth::from_hours(of, hours)
}

fn bill_of(id: &str, usage: &UsageMonth, before_kwh: i64, household: Household) -> BillDraft {
    let terms = BillTerms { household, ..BillTerms::default() };
    let before = Wh::from_kwh(before_kwh);
    bill(&BillInput { tariff: tariff(id), usage, used_before_wh: before, terms }).unwrap()
}

fn lines(draft: &BillDraft) -> Vec<(String, i64, i64, i64)> {
    let line = |l: &BillLine| (l.kind.to_string(), l.energy_wh.0, l.price_e4.0, l.amount_fen.0);
    draft.lines.iter().map(line).collect()
}

/// The peak (08:00 to 22:00 local time) and valley energy of each month of 2011 of customer 5 of the Green Button
/// sample file (vladistan/greenbutton_objects, Apache-2.0).
const CUSTOMER_5_WH: [(i64, i64); 12] = [
    (275_371, 153_385),
    (231_892, 128_702),
    (236_171, 127_394),
    (218_255, 115_884),
    (221_152, 115_147),
    (217_721, 112_709),
    (244_245, 126_712),
    (267_101, 137_744),
    (242_869, 125_984),
    (235_116, 121_744),
    (234_431, 119_073),
    (269_606, 146_897),
];

fn customer_5() -> Vec<UsageMonth> {
    (1..=12)
        .zip(CUSTOMER_5_WH)
        .map(|(m, (peak, valley))| usage(Month::new(2011, m).unwrap(), peak, valley))
        .collect()
}

#[test]
fn a_real_year_costs_what_was_worked_out_by_hand() {
    let months = customer_5();
    let amounts = |id| -> Vec<i64> {
        year_bills(tariff(id), &months, &BillTerms::default())
            .unwrap()
            .iter()
            .map(|b| b.amount_fen.0)
            .collect()
    };
    assert_eq!(
        amounts("zj-residential"),
        [23067, 19400, 19560, 17977, 18093, 17777, 19957, 22629, 21689, 20983, 20786, 24490]
    );
    assert_eq!(
        amounts("zj-residential-tou"),
        [20058, 16878, 17084, 15734, 15877, 15613, 17522, 19986, 19267, 18645, 18513, 21628]
    );
    let terms = BillTerms::default();
    let both = compare(&months, tariff("zj-residential"), tariff("zj-residential-tou"), &terms).unwrap();
    assert_eq!(
        (both.energy_wh, both.single_fen, both.time_of_use_fen),
        (Wh(4_425_305), Fen(246_408), Fen(216_805))
    );
    assert_eq!((both.difference_fen, both.months.len()), (Fen(29_603), 12));
}

#[test]
fn guangzhou_600_kwh_as_the_city_published_it() {
    let july = bill_of(
        "gz-residential",
        &UsageMonth::from_total(month("2024-07"), Wh::from_kwh(600)),
        0,
        Household::Ordinary,
    );
    assert_eq!(july.amount_fen, Fen(37_040));
    assert_eq!(
        lines(&july),
        [("tier-1".into(), 260_000, 5890, 15_314), ("tier-2".into(), 340_000, 6390, 21_726)]
    );
    let january = bill_of(
        "gz-residential",
        &UsageMonth::from_total(month("2024-01"), Wh::from_kwh(600)),
        5000,
        Household::Ordinary,
    );
    assert_eq!(january.amount_fen, Fen(42_340), "tiers by month ignore what was used before");
    assert_eq!(january.tier_status.until, month("2024-01"));
    let large = bill_of(
        "gz-residential",
        &UsageMonth::from_total(month("2024-07"), Wh::from_kwh(600)),
        0,
        Household::Large,
    );
    assert_eq!(lines(&large)[0].1, 360_000, "a large household has 100 kWh more");
}

#[test]
fn zhejiang_time_of_use_across_the_first_limit() {
    let draft =
        bill_of("zj-residential-tou", &usage(month("2024-08"), 210_000, 150_000), 2600, Household::Ordinary);
    assert_eq!(draft.amount_fen, Fen(17_248));
    assert_eq!(
        lines(&draft),
        [
            ("peak".into(), 210_000, 5680, 11_928),
            ("valley".into(), 150_000, 2880, 4_320),
            ("surcharge-tier-2".into(), 200_000, 500, 1_000),
        ]
    );
    let status = &draft.tier_status;
    assert_eq!((status.tier, status.left_in_tier_wh), (2, Some(Wh::from_kwh(1840))));
    assert_eq!(status.prices[1].next_price_e4, Some(PriceE4(5880)));
}

#[test]
fn shanghai_splits_its_surcharge_and_says_so() {
    // 40 kWh of 100 in tier 2, two thirds of the month's use by day.
    let draft =
        bill_of("sh-residential-tou", &usage(month("2024-08"), 66_667, 33_333), 3060, Household::Ordinary);
    assert_eq!(
        lines(&draft)[2..],
        [
            ("surcharge-tier-2-peak".into(), 26_667, 600, 160),
            ("surcharge-tier-2-valley".into(), 13_333, 300, 40),
        ]
    );
    assert!(draft.lines[2..].iter().all(|line| line.note == Some(LineNote::SplitProRata)));
    assert!(draft.lines[..2].iter().all(|line| line.note.is_none()));
}

#[test]
fn months_without_use_are_billed_at_zero() {
    let none = UsageMonth::new(month("2024-03"));
    let single = bill_of("zj-residential", &none, 5000, Household::Ordinary);
    assert_eq!(lines(&single), [("tier-1".into(), 0, 5380, 0)]);
    let tou = bill_of("zj-residential-tou", &none, 5000, Household::Ordinary);
    assert_eq!(lines(&tou), [("peak".into(), 0, 5680, 0), ("valley".into(), 0, 2880, 0)]);
}

#[test]
fn limits_belong_to_the_tier_below() {
    let draft = bill_of(
        "zj-residential",
        &UsageMonth::from_total(month("2024-03"), Wh::from_kwh(2760)),
        0,
        Household::Ordinary,
    );
    assert_eq!(lines(&draft).len(), 1);
    assert_eq!((draft.tier_status.tier, draft.tier_status.limit_wh), (2, Some(Wh::from_kwh(4800))));
    let status =
        tier_status(tariff("zj-residential"), month("2024-03"), Wh::from_kwh(2759), &BillTerms::default());
    assert_eq!(status.unwrap().left_in_tier_wh, Some(Wh::from_kwh(1)));
}

#[test]
fn a_part_year_scales_the_limits() {
    let terms = BillTerms { service_start: Some(month("2024-07")), ..BillTerms::default() };
    let usage = UsageMonth::from_total(month("2024-07"), Wh::from_kwh(2000));
    let input = BillInput { tariff: tariff("zj-residential"), usage: &usage, used_before_wh: Wh(0), terms };
    assert_eq!(lines(&bill(&input).unwrap())[0].1, 1_380_000, "six of twelve months");
}

#[test]
fn a_new_year_starts_in_the_first_tier() {
    let months = ["2023-12", "2024-01"].map(|m| UsageMonth::from_total(month(m), Wh::from_kwh(3000)));
    let bills = year_bills(tariff("zj-residential"), &months, &BillTerms::default()).unwrap();
    assert_eq!(bills[0].amount_fen, bills[1].amount_fen);
    let wrong = [months[1].clone(), months[0].clone()];
    assert_eq!(
        year_bills(tariff("zj-residential"), &wrong, &BillTerms::default()),
        Err(BillingError::Order(month("2023-12")))
    );
}

#[test]
fn what_cannot_be_billed_says_why() {
    let try_bill = |usage: &UsageMonth, id: &str, before: Wh, version| {
        let terms = BillTerms { version, ..BillTerms::default() };
        bill(&BillInput { tariff: tariff(id), usage, used_before_wh: before, terms })
            .map(|draft| draft.amount_fen)
    };
    let old = UsageMonth::from_total(month("1999-01"), Wh::from_kwh(1));
    assert_eq!(
        try_bill(&old, "zj-residential", Wh(0), VersionChoice::ByDate),
        Err(BillingError::NoVersion(month("1999-01")))
    );
    assert_eq!(try_bill(&old, "zj-residential", Wh(0), VersionChoice::Named), Ok(Fen(54)));
    let coarse = Err(BillingError::Usage(UsageError::TooCoarse { interval_s: 86_400 }));
    assert_eq!(try_bill(&old, "zj-residential-tou", Wh(0), VersionChoice::Named), coarse);
    let negative = usage(month("2024-01"), 10, -5);
    assert_eq!(
        try_bill(&negative, "zj-residential-tou", Wh(0), VersionChoice::ByDate),
        Err(BillingError::Negative(month("2024-01")))
    );
    let fine = usage(month("2024-01"), 10, 5);
    for before in [Wh(-1), Wh(i64::MAX)] {
        assert!(try_bill(&fine, "zj-residential", before, VersionChoice::ByDate).is_err());
    }
}

#[test]
fn a_tampered_bill_does_not_recompute() {
    let draft =
        bill_of("zj-residential-tou", &usage(month("2024-08"), 210_000, 150_000), 2600, Household::Ordinary);
    assert_eq!(recompute(&draft.lines, draft.amount_fen), Ok(()));
    let total = RecomputeError::Total { expected: Fen(17_248), found: Fen(17_249) };
    assert_eq!(recompute(&draft.lines, Fen(17_249)), Err(total));
    let mut lines = draft.lines;
    lines[1].amount_fen += Fen(1);
    let line = RecomputeError::Line { line: 1, expected: Fen(4_320), found: Fen(4_321) };
    assert_eq!(recompute(&lines, Fen(17_249)), Err(line));
}

#[test]
fn kinds_read_as_written() {
    for text in
        ["tier-1", "tier-3", "peak", "valley", "sharp", "flat", "surcharge-tier-2", "surcharge-tier-3-valley"]
    {
        assert_eq!(text.parse::<LineKind>().unwrap().to_string(), text);
    }
    for bad in
        ["", "tier-0", "tier-", "tier-10", "surcharge-tier-1", "surcharge-tier-2-", "Peak", "surcharge-"]
    {
        assert_eq!(bad.parse::<LineKind>(), Err(LineKindError), "{bad:?}");
    }
}

#[test]
fn part_years_count_their_months() {
    let terms = BillTerms {
        service_start: Some(month("2024-06")),
        service_end: Some(month("2025-03")),
        ..BillTerms::default()
    };
    assert_eq!(terms.months_served(month("2024-09")), 7);
    assert_eq!(terms.months_served(month("2025-02")), 3);
    assert_eq!(BillTerms::default().months_served(month("2025-02")), 12);
}

const IDS: [&str; 6] = [
    "zj-residential",
    "zj-residential-tou",
    "gz-residential",
    "bj-residential",
    "sh-residential",
    "sh-residential-tou",
];

proptest! {
    #[test]
    fn bills_are_the_sum_of_their_lines(
        id in prop::sample::select(IDS.to_vec()),
        hours in prop::array::uniform24(0i64..200_000),
        before_kwh in 0i64..8_000,
        m in 1i8..=12,
        large: bool,
    ) {
        let usage = UsageMonth::from_hours(Month::new(2024, m).unwrap(), hours.map(Wh));
        let household = if large { Household::Large } else { Household::Ordinary };
        let draft = bill_of(id, &usage, before_kwh, household);
        prop_assert_eq!(recompute(&draft.lines, draft.amount_fen), Ok(()));
        prop_assert_eq!(draft.energy_wh, usage.total());
        let plain: Wh = draft.lines.iter().filter(|l| !l.kind.is_surcharge()).map(|l| l.energy_wh).sum();
        prop_assert_eq!(plain, usage.total(), "each Wh is charged once, surcharges aside");
        let surcharged: Wh = draft.lines.iter().filter(|l| l.kind.is_surcharge()).map(|l| l.energy_wh).sum();
        prop_assert!(surcharged <= usage.total());
        let tier = |line: &BillLine| match line.kind {
            LineKind::Tier(tier) | LineKind::Surcharge { tier, .. } => tier,
            LineKind::Period(_) => 1,
        };
        prop_assert!(draft.lines.is_sorted_by_key(tier));
        prop_assert!(draft.lines.iter().all(|line| line.price_e4.0 >= 0 && line.amount_fen.0 >= 0));
        // More use never costs less.
        let mut more = hours;
        more[12] += 1000;
        let dearer = bill_of(id, &UsageMonth::from_hours(usage.month(), more.map(Wh)), before_kwh, household);
        prop_assert!(dearer.amount_fen >= draft.amount_fen - Fen(4), "but for the rounding of lines");
    }

    #[test]
    fn a_year_costs_its_tiers(kwh_e3 in prop::array::uniform12(0i64..1_500_000)) {
        let months: Vec<UsageMonth> = (1..=12)
            .zip(kwh_e3)
            .map(|(m, wh)| UsageMonth::from_total(Month::new(2024, m).unwrap(), Wh(wh)))
            .collect();
        let bills = year_bills(tariff("bj-residential"), &months, &BillTerms::default()).unwrap();
        let billed: Fen = bills.iter().map(|bill| bill.amount_fen).sum();
        let total: i64 = kwh_e3.iter().sum();
        let tiers = [(0, 2_880_000, 4883), (2_880_000, 4_800_000, 5383), (4_800_000, i64::MAX, 7883)];
        let exact_e5: i64 = tiers.iter().map(|(low, high, price)| (total.clamp(*low, *high) - low) * price).sum();
        let lines: i64 = bills.iter().map(|bill| bill.lines.len() as i64).sum();
        prop_assert!((billed.0 * 100_000 - exact_e5).abs() <= lines * 50_000, "half a fen for each line at most");
    }

    #[test]
    fn drafts_survive_serde(hours in prop::array::uniform24(0i64..200_000), before_kwh in 0i64..8_000) {
        let draft = bill_of("sh-residential-tou", &UsageMonth::from_hours(month("2024-05"), hours.map(Wh)), before_kwh, Household::Ordinary);
        let text = toml::to_string(&draft).unwrap();
        prop_assert_eq!(toml::from_str::<BillDraft>(&text).unwrap(), draft);
    }
}
