//! The order to sign a mandate: the customer gives the provider's page their leave to be debited.
use super::OrderError;
use super::signed_query::{Values, is_web_url, to_url, verified};
use crate::{AccountId, MandateId, bounds::PayableFen};

const NAMES: [&str; 6] = ["mandate", "limit_fen", "account", "expires_s", "return_url", "notify_url"];

/// What is to be signed. In an address: the query parameters `mandate`, `limit_fen`, `account`, `expires_s`, `return_url`,
/// `notify_url` and `sign`, each once, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MandateOrder {
    /// The mandate; the provider's message names it.
    pub mandate: MandateId,
    /// The most that one debit may take, in fen.
    pub limit_fen: PayableFen,
    /// For which account's bills; shown to the payer.
    pub account: AccountId,
    /// Until when it may be signed, Unix seconds.
    pub expires_s: u64,
    /// Where the payer goes afterwards; see [`super::PayOrder::return_url`].
    pub return_url: String,
    /// Where the provider sends its message: likewise.
    pub notify_url: String,
}

impl MandateOrder {
    fn values(&self) -> [String; 6] {
        [
            self.mandate.to_string(),
            i64::from(self.limit_fen).to_string(),
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
        let limit = i64::try_from(values.parsed::<u64>(1)?).map_err(|_| values.bad(1))?;
        let order = MandateOrder {
            mandate: values.parsed(0)?,
            limit_fen: limit.try_into().map_err(|_| values.bad(1))?,
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
    use super::*;
    use crate::Bucket;

    #[test]
    fn an_order_is_read_back_only_whole_and_genuine() {
        let order = MandateOrder {
            mandate: MandateId::mint(Bucket::of(b"x"), 7),
            limit_fen: 50_000.try_into().unwrap(),
            account: AccountId::mint(33, 1).unwrap(),
            expires_s: 1_800_000_000,
            return_url: "http://127.0.0.1:8080/debit".into(),
            notify_url: "http://127.0.0.1:8080/v1/callbacks/payments/sim-pay".into(),
        };
        let sign = order.to_url("http://sim/mandate", b"s");
        let sign = sign.rsplit_once("sign=").unwrap().1.to_owned();
        let values = order.values();
        let pairs = |limit: &str| -> Vec<(String, String)> {
            let names = NAMES.iter().map(|name| (*name).to_owned());
            let mut pairs: Vec<_> = names.zip(values.clone()).collect();
            pairs[1].1 = limit.to_owned();
            pairs.push(("sign".to_owned(), sign.clone()));
            pairs
        };
        let read = |pairs: &[(String, String)], secret: &[u8]| {
            MandateOrder::from_query_pairs(pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())), secret)
        };
        assert_eq!(read(&pairs("50000"), b"s"), Ok(order.clone()));
        assert_eq!(read(&pairs("50000"), b"t"), Err(OrderError::Signature));
        assert_eq!(read(&pairs("90000"), b"s"), Err(OrderError::Signature));
        assert_eq!(read(&pairs("0"), b"s"), Err(OrderError::Parameter("limit_fen")));
        assert_eq!(read(&pairs("50000")[1..], b"s"), Err(OrderError::Parameter("mandate")));
    }
}
