//! Journey 1: opens a bill, finds the line that crossed a tier, recomputes everything, compares with time-of-use.
use domain::{
    billing::{BillLine, Explanation, LineKind},
    money::Fen,
};
use protocol::{BillId, catalogue::replies};

use super::{Failed, client::Client, ensure};

pub(super) const NAME: &str = "Why is my bill higher?";

pub(super) async fn journey(client: &Client) -> Result<String, Failed> {
    let bill = find_bill(client).await?;
    recompute(&bill.lines, bill.bill.amount_fen)?;
    tiers_add_up(&bill)?;
    // Not every city offers another tariff to households.
    let other = match &bill.alternative {
        Some(other) => {
            recompute(&other.lines, other.amount_fen)?;
            format!("{} would have cost ¥{}", other.tariff.name_en, other.amount_fen)
        }
        None => "no other tariff is offered there".to_owned(),
    };
    let before = explained(client, &bill).await?;
    compared(client, &bill).await?;
    let crossed = bill.lines.iter().rfind(|line| tier_of(line.kind) > 1);
    let crossed = crossed.ok_or_else(|| Failed("the bill crosses no tier".into()))?;
    Ok(format!(
        "{}: {} kWh, ¥{}; {} kWh of it in tier {} cost ¥{}; all {} lines recomputed; {other}; the difference of ¥{} from {} has {} parts",
        bill.bill.month,
        bill.bill.energy_wh,
        bill.bill.amount_fen,
        crossed.energy_wh,
        tier_of(crossed.kind),
        crossed.amount_fen,
        bill.lines.len(),
        before.difference_fen,
        before.month,
        before.parts.len(),
    ))
}

/// A bill that crossed a tier and can be compared; one that only crossed a tier where there is no other.
async fn find_bill(client: &Client) -> Result<replies::BillGet, Failed> {
    let accounts: replies::AccountList = client.read("/v1/accounts").await?;
    ensure!(!accounts.accounts.is_empty(), "the demonstration customer has no account");
    let mut crossed = None;
    let mut looked_at = 0;
    for bound in &accounts.accounts {
        let list: replies::BillList = client.read(&format!("/v1/accounts/{}/bills", bound.account)).await?;
        for brief in &list.bills {
            let bill: replies::BillGet = client.read(&format!("/v1/bills/{}", brief.bill)).await?;
            looked_at += 1;
            ensure!(bill.bill == *brief, "bill {} differs from the list's line", brief.bill);
            if bill.lines.iter().any(|line| tier_of(line.kind) > 1) {
                if bill.alternative.is_some() {
                    return Ok(bill);
                }
                crossed = Some(bill);
            }
        }
    }
    crossed.ok_or_else(|| Failed(format!("none of {looked_at} bills crosses a tier")))
}

/// The difference from the bill before is what the two bills say, and the sum of its parts.
async fn explained(client: &Client, bill: &replies::BillGet) -> Result<Explanation, Failed> {
    let number = bill.bill.bill;
    let explained = bill.against_previous.clone();
    let explained = explained.ok_or_else(|| Failed(format!("bill {number} is not explained")))?;
    let before = BillId { account: number.account, month: explained.month };
    let before: replies::BillGet = client.read(&format!("/v1/bills/{before}")).await?;
    let difference = bill.bill.amount_fen.0 - before.bill.amount_fen.0;
    let sum: i64 = explained.parts.iter().map(|part| part.amount_fen.0).sum();
    ensure!(
        (sum, explained.difference_fen.0) == (difference, difference),
        "{difference} fen more than {}, {} said, the parts sum to {sum}",
        explained.month,
        explained.difference_fen.0
    );
    Ok(explained)
}

/// Over the past year the account's own tariff costs what its bills say, and the other what the bill says it would.
async fn compared(client: &Client, bill: &replies::BillGet) -> Result<(), Failed> {
    let account = bill.bill.bill.account;
    let compared: replies::TariffCompare =
        client.read(&format!("/v1/accounts/{account}/tariffs/compare")).await?;
    let found = compared.months.iter().find(|month| month.month == bill.bill.month);
    let month = found.ok_or_else(|| Failed(format!("{} is not compared", bill.bill.month)))?;
    let other = bill.alternative.as_ref().map(|other| other.amount_fen);
    ensure!(
        (Some(&bill.bill.amount_fen), other.as_ref())
            == (month.amounts_fen.first(), month.amounts_fen.get(1)),
        "{}: billed {} and {other:?} fen, compared as {:?}",
        bill.bill.month,
        bill.bill.amount_fen.0,
        month.amounts_fen
    );
    Ok(())
}

/// Every line is energy × price, rounded half up to the fen; the amount is the lines' sum.
fn recompute(lines: &[BillLine], amount: Fen) -> Result<(), Failed> {
    let mut sum = 0;
    for line in lines {
        // fen = Wh / 1000 × (1e-4 yuan) / 100, in whole numbers.
        let exact = i128::from(line.energy_wh.0) * i128::from(line.price_e4.0);
        let fen = (2 * exact + 100_000).div_euclid(200_000);
        let told = i128::from(line.amount_fen.0);
        ensure!(fen == told, "line {} says {told} fen, recomputed it is {fen}", line.kind);
        sum += fen;
    }
    ensure!(sum == i128::from(amount.0), "the bill says {} fen, its lines sum to {sum}", amount.0);
    Ok(())
}

/// Under a single rate each tier's line holds exactly what the limits leave for it; otherwise the energies of the
/// periods make the bill's.
fn tiers_add_up(bill: &replies::BillGet) -> Result<(), Failed> {
    let single = bill.lines.iter().all(|line| matches!(line.kind, LineKind::Tier(_)));
    let energy: i64 = bill
        .lines
        .iter()
        .filter(|line| matches!(line.kind, LineKind::Tier(_) | LineKind::Period(_)))
        .map(|line| line.energy_wh.0)
        .sum();
    ensure!(
        energy == bill.bill.energy_wh.0,
        "the lines hold {energy} Wh, the bill {}",
        bill.bill.energy_wh.0
    );
    if !single {
        return Ok(());
    }
    let (from, to) = (bill.used_before_wh.0, bill.used_before_wh.0 + bill.bill.energy_wh.0);
    let mut lower = 0;
    let limits = bill.tier_limits_wh.iter().map(|limit| limit.0).chain([i64::MAX]);
    for (tier, upper) in (1u8..).zip(limits) {
        let expected = (to.min(upper) - from.max(lower)).max(0);
        let told: i64 =
            bill.lines.iter().filter(|line| tier_of(line.kind) == tier).map(|line| line.energy_wh.0).sum();
        ensure!(told == expected, "tier {tier} holds {told} Wh; its limits leave {expected}");
        lower = upper;
    }
    Ok(())
}

/// The tier that a line charges; 1 for a period's line.
fn tier_of(kind: LineKind) -> u8 {
    match kind {
        LineKind::Tier(tier) => tier,
        LineKind::Period(_) => 1,
        other => surcharge_tier(&other.to_string()),
    }
}

/// `surcharge-tier-2-valley` → 2.
fn surcharge_tier(text: &str) -> u8 {
    let digits = text.strip_prefix("surcharge-tier-").and_then(|rest| rest.split('-').next());
    digits.and_then(|tier| tier.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use domain::money::{PriceE4, Wh};
    use proptest::prelude::*;

    use super::*;

    fn line(kind: &str, energy_wh: i64, price_e4: i64) -> BillLine {
        let (energy_wh, price_e4) = (Wh(energy_wh), PriceE4(price_e4));
        let kind = serde_json::from_value(kind.into()).unwrap();
        BillLine { kind, energy_wh, price_e4, amount_fen: price_e4.charge(energy_wh), note: None }
    }

    #[test]
    fn a_fen_too_much_is_noticed() {
        let lines = [line("tier-1", 428_756, 5_380), line("tier-2", 1_000, 5_880)];
        assert!(recompute(&lines, Fen(23_067 + 59)).is_ok());
        assert!(recompute(&lines, Fen(23_067 + 58)).is_err());
        let mut wrong = lines.clone();
        wrong[0].amount_fen = Fen(23_068);
        assert!(recompute(&wrong, Fen(23_068 + 59)).is_err());
        assert_eq!(tier_of(lines[1].kind), 2);
        assert_eq!(tier_of(line("surcharge-tier-3-valley", 1, 1).kind), 3);
        assert_eq!(tier_of(line("peak", 1, 1).kind), 1);
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_biller(energy in 0i64..10_000_000_000, price in 0i64..100_000) {
            let line = line("tier-1", energy, price);
            let amount = line.amount_fen;
            prop_assert!(recompute(&[line], amount).is_ok());
        }
    }
}
