//! The order: what is to be paid, and where the provider answers to.
use super::OrderError;
use super::signed_query::{Values, is_web_url, to_url, verified};
use crate::{AccountId, PaymentId, bounds::PayableFen};

const NAMES: [&str; 6] = ["order", "amount_fen", "account", "expires_s", "return_url", "notify_url"];

/// What is to be paid. In an address: the query parameters `order`, `amount_fen`, `account`, `expires_s`, `return_url`,
/// `notify_url` and `sign`, each once, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayOrder {
    /// The payment; the provider's message names it.
    pub order: PaymentId,
    /// How much, in fen.
    pub amount_fen: PayableFen,
    /// For which account; shown to the payer.
    pub account: AccountId,
    /// Until when it may be paid, Unix seconds.
    pub expires_s: u64,
    /// Where the payer goes afterwards: `http` or `https`, at most [`super::MAX_URL_LEN`] bytes.
    pub return_url: String,
    /// Where the provider sends its message: likewise.
    pub notify_url: String,
}

impl PayOrder {
    fn values(&self) -> [String; 6] {
        [
            self.order.to_string(),
            i64::from(self.amount_fen).to_string(),
            self.account.to_string(),
            self.expires_s.to_string(),
            self.return_url.clone(),
            self.notify_url.clone(),
        ]
    }

    /// The address to send the payer to: `base` (the provider's page, without a query) with the signed order.
    pub fn to_url(&self, base: &str, secret: &[u8]) -> String {
        to_url(base, &NAMES, &self.values(), secret)
    }

    /// Reads an order from an address's query parameters, already percent-decoded, and believes it only if it is signed
    /// with `secret`. Whether its time has passed is the caller's to check.
    ///
    /// # Errors
    /// [`OrderError`]; a query that is wrong in both ways may give either.
    pub fn from_query_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
        secret: &[u8],
    ) -> Result<Self, OrderError> {
        let values = Values::read(&NAMES, pairs)?;
        let amount = i64::try_from(values.parsed::<u64>(1)?).map_err(|_| values.bad(1))?;
        let order = PayOrder {
            order: values.parsed(0)?,
            amount_fen: amount.try_into().map_err(|_| values.bad(1))?,
            account: values.parsed(2)?,
            expires_s: values.parsed(3)?,
            return_url: values.checked(4, is_web_url)?,
            notify_url: values.checked(5, is_web_url)?,
        };
        verified(&NAMES, &order.values(), values.signature()?, secret)?;
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::signed_query::canonical, *};
    use crate::Bucket;

    const SECRET: &[u8] = b"merchant secret";

    fn order() -> PayOrder {
        PayOrder {
            order: PaymentId::mint(Bucket::of(b"x"), 7),
            amount_fen: 70_624.try_into().unwrap(),
            account: AccountId::mint(33, 1).unwrap(),
            expires_s: 1_800_000_000,
            return_url: "http://127.0.0.1:8080/pay/done?x=1&y=电".into(),
            notify_url: "http://127.0.0.1:8080/v1/callbacks/sim-pay".into(),
        }
    }

    /// The reader's half of percent-encoding, as a web server does it.
    fn query_pairs(url: &str) -> Vec<(String, String)> {
        let decode = |text: &str| {
            let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
            while let Some((&first, after)) = rest.split_first() {
                if first == b'%' {
                    bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
                    rest = &after[2..];
                } else {
                    bytes.push(first);
                    rest = after;
                }
            }
            String::from_utf8(bytes).unwrap()
        };
        let query = url.split_once('?').unwrap().1;
        query.split('&').map(|p| p.split_once('=').unwrap()).map(|(k, v)| (decode(k), decode(v))).collect()
    }

    fn read(pairs: &[(String, String)], secret: &[u8]) -> Result<PayOrder, OrderError> {
        PayOrder::from_query_pairs(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())), secret)
    }

    #[test]
    fn the_signed_text_never_changes() {
        // Golden: providers keep their own copy of the rule.
        let mut order = order();
        order.return_url = "http://r.example/".into();
        order.notify_url = "http://n.example/".into();
        assert_eq!(
            canonical(&NAMES, &order.values()),
            format!(
                "order={}\namount_fen=70624\naccount={}\nexpires_s=1800000000\nreturn_url=http://r.example/\nnotify_url=http://n.example/",
                order.order, order.account
            )
        );
    }

    #[test]
    fn an_address_is_read_back_only_whole_and_genuine() {
        let order = order();
        let url = order.to_url("http://127.0.0.1:8085/pay", SECRET);
        assert!(url.starts_with("http://127.0.0.1:8085/pay?order=py_") && url.is_ascii());
        let pairs = query_pairs(&url);
        assert_eq!(read(&pairs, SECRET), Ok(order.clone()));
        assert_eq!(read(&pairs, b"other"), Err(OrderError::Signature));
        for i in 0..pairs.len() {
            let mut less = pairs.clone();
            less.remove(i);
            assert!(matches!(read(&less, SECRET), Err(OrderError::Parameter(_))));
            let mut twice = pairs.clone();
            twice.push(pairs[i].clone());
            assert!(matches!(read(&twice, SECRET), Err(OrderError::Parameter(_))));
        }
        let mut more = pairs.clone();
        more.push(("discount".into(), "1".into()));
        assert!(matches!(read(&more, SECRET), Err(OrderError::Parameter(_))));
        let mut cheaper = pairs.clone();
        cheaper[1].1 = "1".into();
        assert_eq!(read(&cheaper, SECRET), Err(OrderError::Signature));
        let mut free = pairs;
        free[1].1 = "0".into();
        assert_eq!(read(&free, SECRET), Err(OrderError::Parameter("amount_fen")));
    }

    #[test]
    fn addresses_that_are_no_web_addresses_are_refused() {
        for bad in ["javascript:alert(1)", "ftp://x", "http://a b", "http://a\nnotify_url=x", ""] {
            let mut order = order();
            order.return_url = bad.into();
            let pairs = query_pairs(&order.to_url("http://x/pay", SECRET));
            assert_eq!(read(&pairs, SECRET), Err(OrderError::Parameter("return_url")), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn orders_survive_their_address(
            bits: u128, amount in 1..=PayableFen::MAX, serial in 0u64..10_000_000_000, expires_s: u64,
            path in "[!-~电费é]{0,40}", secret in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let order = PayOrder {
                order: PaymentId::from_bits(bits),
                amount_fen: amount.try_into().unwrap(),
                account: AccountId::mint(33, serial).unwrap(),
                expires_s,
                return_url: format!("https://r/{path}"),
                notify_url: format!("http://n/{path}"),
            };
            let pairs = query_pairs(&order.to_url("http://sim/pay", &secret));
            prop_assert_eq!(read(&pairs, &secret), Ok(order));
        }

        #[test]
        fn a_changed_value_is_noticed(at in 0usize..7, change in "[ -~]{0,80}") {
            let order = order();
            let mut pairs = query_pairs(&order.to_url("http://sim/pay", SECRET));
            let before = pairs[at].1.clone();
            pairs[at].1 = change;
            // A text that reads as the same value (leading zeros, spaces in an account number) is the same order.
            match read(&pairs, SECRET) {
                Ok(read) => prop_assert!(read == order, "{} became {}", before, pairs[at].1),
                Err(_) => prop_assert_ne!(&pairs[at].1, &before),
            }
        }
    }
}
