//! Signed parameters of an address: how an order travels with the customer.
use std::{fmt, fmt::Write as _, str::FromStr};

use data_encoding::HEXLOWER_PERMISSIVE;
use hmac::Mac;

use super::hmac_sha256;

/// The longest address an order may name, in bytes.
pub const MAX_URL_LEN: usize = 512;

/// The name of the parameter that signs the others.
const SIGN: &str = "sign";

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

/// The text that is signed: `name=value` lines joined by `\n`, in the order of the names, values as they are (not
/// percent-encoded). No value can hold a line end, so it can be read in one way only.
pub(super) fn canonical<const N: usize>(names: &[&'static str; N], values: &[String; N]) -> String {
    let lines: Vec<_> = names.iter().zip(values).map(|(name, value)| format!("{name}={value}")).collect();
    lines.join("\n")
}

/// HMAC-SHA256 of the canonical text under the merchant's secret, as 64 lower-case hex digits.
pub(super) fn sign<const N: usize>(names: &[&'static str; N], values: &[String; N], secret: &[u8]) -> String {
    let mac = hmac_sha256(secret, &[canonical(names, values).as_bytes()]).finalize().into_bytes();
    data_encoding::HEXLOWER.encode(&mac)
}

/// `base` (a page's address, without a query) with the values and their signature as its query.
pub(super) fn to_url<const N: usize>(
    base: &str,
    names: &[&'static str; N],
    values: &[String; N],
    secret: &[u8],
) -> String {
    let mut url = String::with_capacity(512);
    url.push_str(base);
    let sign = sign(names, values, secret);
    let pairs = names.iter().zip(values).map(|(name, value)| (*name, value)).chain([(SIGN, &sign)]);
    for (i, (name, value)) in pairs.enumerate() {
        let joint = if i == 0 { '?' } else { '&' };
        // Writing to a String does not fail.
        write!(url, "{joint}{name}={}", PercentEncoded(value)).ok();
    }
    url
}

/// Whether these values are signed so.
pub(super) fn verified<const N: usize>(
    names: &[&'static str; N],
    values: &[String; N],
    signature: &str,
    secret: &[u8],
) -> Result<(), OrderError> {
    let malformed = || OrderError::Parameter(SIGN);
    if signature.len() != 64 {
        return Err(malformed());
    }
    let signature = HEXLOWER_PERMISSIVE.decode(signature.as_bytes()).map_err(|_| malformed())?;
    hmac_sha256(secret, &[canonical(names, values).as_bytes()])
        .verify_slice(&signature)
        .map_err(|_| OrderError::Signature)
}

/// The values of a query that has each of the names once, and the signature, and nothing else.
pub(super) struct Values<'a, const N: usize> {
    names: &'static [&'static str; N],
    values: [&'a str; N],
    signature: Option<&'a str>,
}

impl<'a, const N: usize> Values<'a, N> {
    pub(super) fn read(
        names: &'static [&'static str; N],
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, OrderError> {
        let (mut found, mut signature) = ([None; N], None);
        for (name, value) in pairs {
            let (place, name) = if name == SIGN {
                (&mut signature, SIGN)
            } else {
                let at = names.iter().position(|n| *n == name).ok_or(OrderError::Parameter("(unknown)"))?;
                (&mut found[at], names[at])
            };
            if place.replace(value).is_some() {
                return Err(OrderError::Parameter(name));
            }
        }
        let mut values = [""; N];
        for (at, value) in found.into_iter().enumerate() {
            values[at] = value.ok_or(OrderError::Parameter(names[at]))?;
        }
        Ok(Values { names, values, signature })
    }

    /// What to say of a value that is not of its form.
    pub(super) fn bad(&self, at: usize) -> OrderError {
        OrderError::Parameter(self.names[at])
    }

    pub(super) fn parsed<T: FromStr>(&self, at: usize) -> Result<T, OrderError> {
        self.values[at].parse().map_err(|_| self.bad(at))
    }

    pub(super) fn checked(&self, at: usize, fits: impl Fn(&str) -> bool) -> Result<String, OrderError> {
        if fits(self.values[at]) { Ok(self.values[at].to_owned()) } else { Err(self.bad(at)) }
    }

    pub(super) fn signature(&self) -> Result<&'a str, OrderError> {
        self.signature.ok_or(OrderError::Parameter(SIGN))
    }
}

/// An absolute web address without white space or control characters.
pub(super) fn is_web_url(text: &str) -> bool {
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
