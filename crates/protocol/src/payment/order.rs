//! The order: what is to be paid, and where the provider answers to.
use std::{fmt, fmt::Write as _};

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::Mac;

use super::hmac_sha256;
use crate::{AccountId, PaymentId, bounds::PayableFen};

/// The longest address an order may name, in bytes.
pub const MAX_URL_LEN: usize = 512;

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
    /// Where the payer goes afterwards: `http` or `https`, at most [`MAX_URL_LEN`] bytes.
    pub return_url: String,
    /// Where the provider sends its message: likewise.
    pub notify_url: String,
}

/// Why an order was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A parameter is missing, twice, unknown, or not of its form.
    #[error("the order's parameter {0} is missing, doubled, unknown or malformed")]
    Parameter(&'static str),
    /// Signed with another secret, or changed since.
    #[error("the order's signature is wrong")]
    Signature,
}

impl PayOrder {
    /// The text that is signed: `name=value` lines joined by `\n`, in the order of [`PayOrder`]'s fields, values as they
    /// are (not percent-encoded). No value can hold a line end, so it can be read in one way only.
    fn canonical(&self) -> String {
        format!(
            "order={}\namount_fen={}\naccount={}\nexpires_s={}\nreturn_url={}\nnotify_url={}",
            self.order,
            i64::from(self.amount_fen),
            self.account,
            self.expires_s,
            self.return_url,
            self.notify_url
        )
    }

    /// HMAC-SHA256 of the canonical text under the merchant's secret, as 64 lower-case hex digits.
    pub fn sign(&self, secret: &[u8]) -> String {
        let mac = hmac_sha256(secret, &[self.canonical().as_bytes()]).finalize().into_bytes();
        data_encoding::HEXLOWER.encode(&mac)
    }

    /// The address to send the payer to: `base` (the provider's page, without a query) with the signed order.
    pub fn to_url(&self, base: &str, secret: &[u8]) -> String {
        let mut url = String::with_capacity(512);
        url.push_str(base);
        let (order, account) = (self.order.to_string(), self.account.to_string());
        let (amount, expires) = (i64::from(self.amount_fen).to_string(), self.expires_s.to_string());
        let parameters = [
            ("order", order.as_str()),
            ("amount_fen", &amount),
            ("account", &account),
            ("expires_s", &expires),
            ("return_url", &self.return_url),
            ("notify_url", &self.notify_url),
            ("sign", &self.sign(secret)),
        ];
        for (i, (name, value)) in parameters.into_iter().enumerate() {
            url.push(if i == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            // Writing to a String does not fail.
            write!(url, "{}", PercentEncoded(value)).ok();
        }
        url
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
        const NAMES: [&str; 7] =
            ["order", "amount_fen", "account", "expires_s", "return_url", "notify_url", "sign"];
        let mut values = [None; NAMES.len()];
        for (name, value) in pairs {
            let at = NAMES.iter().position(|n| *n == name).ok_or(OrderError::Parameter("(unknown)"))?;
            if values[at].replace(value).is_some() {
                return Err(OrderError::Parameter(NAMES[at]));
            }
        }
        let get = |at: usize| values[at].ok_or(OrderError::Parameter(NAMES[at]));
        let bad = |at: usize| OrderError::Parameter(NAMES[at]);
        let number = |at: usize| get(at)?.parse::<u64>().map_err(|_| bad(at));
        let url =
            |at: usize| get(at).and_then(|u| if is_web_url(u) { Ok(u.to_owned()) } else { Err(bad(at)) });
        let amount = i64::try_from(number(1)?).map_err(|_| bad(1))?;
        let order = PayOrder {
            order: get(0)?.parse().map_err(|_| bad(0))?,
            amount_fen: amount.try_into().map_err(|_| bad(1))?,
            account: get(2)?.parse().map_err(|_| bad(2))?,
            expires_s: number(3)?,
            return_url: url(4)?,
            notify_url: url(5)?,
        };
        let signature = get(6)?;
        if signature.len() != 64 {
            return Err(bad(6));
        }
        let signature = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()).map_err(|_| bad(6))?;
        hmac_sha256(secret, &[order.canonical().as_bytes()])
            .verify_slice(&signature)
            .map_err(|_| OrderError::Signature)?;
        Ok(order)
    }
}

/// An absolute web address without white space or control characters.
fn is_web_url(text: &str) -> bool {
    text.len() <= MAX_URL_LEN
        && (text.starts_with("http://") || text.starts_with("https://"))
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// Displays a text with all but RFC 3986's unreserved characters percent-encoded, fit for a query or a path.
#[derive(Clone, Copy, Debug)]
pub struct PercentEncoded<'a>(pub &'a str);

impl fmt::Display for PercentEncoded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(byte))?
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
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
            order.canonical(),
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
