use domain::{
    money::{Fen, Wh},
    readings::{DayReadings, Quality},
    tariff::TariffBook,
};
use jiff::civil::date;
use protocol::{AccountId, BillId};
use storage::rows::{Account, BillHead};

use super::*;

const TODAY: Date = date(2026, 8, 19);

/// An account of Hangzhou that has used so much from January to July, and each day from 20 July to 18 August some at
/// noon and some at night.
fn view(tariff: &str, used: Wh, noon_wh: i64, night_wh: i64) -> AccountView {
    let account = Account {
        id: AccountId::mint(33, 77).unwrap(),
        holder: "样例".into(),
        phone: None,
        address: "样例路 1 号".into(),
        division: "330106".into(),
        tariff: tariff.parse().unwrap(),
        large_household: false,
        opened: Month::new(2019, 3).unwrap(),
        credit_fen: Fen(0),
        wrong_proofs: 0,
        proof_window_ms: 0,
    };
    let july = BillHead {
        id: BillId { account: account.id, month: Month::new(2026, 7).unwrap() },
        tariff: account.tariff.clone(),
        tariff_from: date(2006, 1, 1),
        energy_wh: used,
        amount_fen: Fen(0),
        paid_fen: Fen(0),
        issued_on: date(2026, 8, 1),
        due_on: date(2026, 8, 25),
        late_fee: Default::default(),
    };
    let december = BillHead {
        id: BillId { month: Month::new(2025, 12).unwrap(), ..july.id },
        energy_wh: Wh(9_000_000),
        ..july.clone()
    };
    let days = date(2026, 7, 20).series(Span::new().days(1)).take_while(|day| *day < TODAY);
    let day = |date| {
        let mut day = DayReadings::new(date, 3600).unwrap();
        day.add(12 * 3600, Wh(noon_wh), Quality::Valid).unwrap();
        day.add(2 * 3600, Wh(night_wh), Quality::Valid).unwrap();
        day
    };
    AccountView {
        account,
        holders: Vec::new(),
        supply: None,
        open_bills: Vec::new(),
        bills: vec![july, december],
        days: days.map(day).collect(),
        first_and_last: None,
    }
}

fn asked(row: &AccountView) -> (TierStanding, Option<TierPace>) {
    let tariff = TariffBook::published().get(row.account.tariff.as_str()).unwrap();
    let standing = standing(row, tariff, TODAY).unwrap();
    let pace = pace(row, tariff, &standing, Month::of(TODAY));
    (standing, pace)
}

#[test]
fn the_pace_leads_to_a_day_and_to_a_bill() {
    // 10 kWh a day: 18 days of August are 180 of the 240 kWh that were left; the rest lasts six days.
    let (standing, pace) = asked(&view("zj-residential", Wh(2_520_000), 6_000, 4_000));
    assert_eq!((standing.tier, standing.used_wh, standing.left_wh), (1, Wh(2_700_000), Some(Wh(60_000))));
    let pace = pace.unwrap();
    assert_eq!((pace.daily_wh, pace.days, pace.through), (Wh(10_000), 30, date(2026, 8, 18)));
    assert_eq!(pace.crossing_on, Some(date(2026, 8, 24)));
    // 310 kWh in all, 240 of them at 0.538 and 70 at 0.588.
    assert_eq!((pace.month_wh, pace.month_fen), (Wh(310_000), Some(Fen(12_912 + 4_116))));
    let (_, pace) = asked(&view("zj-residential-tou", Wh(2_520_000), 6_000, 4_000));
    // 186 kWh at 0.568, 124 at 0.288, 70 at 0.05 more.
    assert_eq!(pace.unwrap().month_fen, Some(Fen(10_565 + 3_571 + 350)));
}

#[test]
fn what_is_not_reached_before_counting_begins_anew_has_no_day() {
    // 135 days of the year remain after 18 August, when 180 kWh of August are used.
    let (_, pace) = asked(&view("zj-residential", Wh(1_229_999), 6_000, 4_000));
    assert_eq!(pace.unwrap().crossing_on, None);
    let (_, pace) = asked(&view("zj-residential", Wh(1_230_000), 6_000, 4_000));
    assert_eq!(pace.unwrap().crossing_on, Some(date(2026, 12, 31)));
    let (standing, pace) = asked(&view("zj-residential", Wh(9_000_000), 6_000, 4_000));
    assert_eq!(
        (standing.left_wh, pace.unwrap().crossing_on),
        (None, None),
        "there is no tier after the last"
    );
    let (_, pace) = asked(&view("zj-residential", Wh(0), 0, 0));
    assert_eq!(pace.map(|pace| (pace.crossing_on, pace.month_fen)), Some((None, Some(Fen(0)))));
}

#[test]
fn without_readings_there_is_no_pace_and_without_hours_no_amount_by_the_hour() {
    let mut row = view("zj-residential-tou", Wh(0), 6_000, 4_000);
    for day in &mut row.days {
        let total = day.total();
        *day = DayReadings::new(day.date, 86_400).unwrap();
        day.add(0, total, Quality::Valid).unwrap();
    }
    let pace = asked(&row).1.unwrap();
    assert_eq!((pace.month_wh, pace.month_fen), (Wh(310_000), None));
    row.days.clear();
    assert_eq!(asked(&row).1, None);
}
