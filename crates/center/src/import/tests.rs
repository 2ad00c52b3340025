use jiff::civil::date;

use super::*;

fn a_day(wh: i64) -> DayReadings {
    let mut day = DayReadings::new(date(2024, 3, 1), 3600).unwrap();
    day.add(0, Wh(wh), domain::readings::Quality::Valid).unwrap();
    day
}

#[test]
fn the_same_file_goes_to_the_same_account() {
    let tariffs = TariffBook::published();
    let prepared = |tariff, wh| prepare(tariffs.get(tariff).unwrap(), None, vec![a_day(wh)]).unwrap();
    let import = prepared("zj-residential", 1000);
    assert_eq!(import, prepared("zj-residential", 1000));
    assert_eq!(idempotency_key(&import), idempotency_key(&prepared("zj-residential", 1000)));
    assert_ne!(import.account, prepared("zj-residential", 1001).account);
    assert_ne!(import.account, prepared("zj-residential-tou", 1000).account);
    assert_eq!(import.account.number() / 100_000_000_000, 33);
    assert_eq!((import.division.as_str(), import.terms.version), ("330000", VersionChoice::Named));
    let guangzhou = prepared("gz-residential", 1000);
    assert_eq!(
        (guangzhou.account.to_string().get(..3), guangzhou.division.as_str()),
        (Some("449"), "440100")
    );
    let named =
        prepare(tariffs.get("bj-residential").unwrap(), Some(import.account), vec![a_day(1)]).unwrap();
    assert_eq!(named.account, import.account);
}

#[test]
fn too_much_for_one_operation_is_refused_before_it_enters_the_lane() {
    let tariff = TariffBook::published().get("zj-residential").unwrap();
    let mut day = DayReadings::new(date(2024, 3, 1), 60).unwrap();
    day.slots.iter_mut().for_each(|slot| *slot = Wh(5_000_000_000));
    let days = vec![day; 4000];
    assert_eq!(prepare(tariff, None, days).unwrap_err().code, Code::TooLarge);
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told_with_its_place() {
    let problem = read(&b"<?xml version='1.0'?>\n<feed><entry>"[..], None).await.unwrap_err();
    assert_eq!(problem.code, Code::InvalidRequest);
    assert!(problem.detail.contains("line 2, column"), "{problem}");
    assert!(problem.detail.ends_with("Nothing was changed."), "{problem}");
    let unknown = unknown_tariff(TariffBook::published(), "xx");
    assert!(unknown.detail.contains("no tariff xx. Known are bj-residential, gz-residential"), "{unknown}");
}

#[test]
fn a_line_without_a_note_has_no_such_field() {
    let line = ImportedLine {
        kind: LineKind::Tier(1),
        energy_wh: Wh(428_756),
        price_e4: PriceE4(5380),
        amount_fen: Fen(23_067),
        note: None,
    };
    let json = serde_json::to_string(&line).unwrap();
    assert_eq!(json, r#"{"kind":"tier-1","energy_wh":428756,"price_e4":5380,"amount_fen":23067}"#);
    let noted = ImportedLine { note: Some(LineNote::SplitProRata), ..line };
    assert!(serde_json::to_string(&noted).unwrap().ends_with(r#","note":"split_pro_rata"}"#));
}
