//! Request ids and W3C trace contexts: what a request is called on its way.

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

/// 26 digits of five bits hold 128; Crockford's base 32 leaves out i, l, o and u, which people misread.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The name of one request, the same on every hop and in every log line: 128 random bits, shown as 26 lower-case
/// digits of Crockford's base 32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u128);

impl RequestId {
    /// A new random id.
    pub fn random() -> Self {
        Self(u128::from_le_bytes(random_bytes()))
    }

    /// The id that a peer sent, if well-formed (26 digits, either case), else a new one.
    pub fn from_header(value: Option<&str>) -> Self {
        value.and_then(|text| text.parse().ok()).unwrap_or_else(Self::random)
    }

    /// Its 128 bits.
    pub fn to_u128(self) -> u128 {
        self.0
    }

    /// The id with these bits, as another hop sent them.
    pub fn from_u128(bits: u128) -> Self {
        Self(bits)
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..26).rev().try_for_each(|place| {
            let digit = DIGITS[(self.0 >> (5 * place)) as usize & 31];
            fmt::Write::write_char(f, char::from(digit))
        })
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RequestId {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Self, TraceError> {
        let bytes = text.as_bytes();
        // The first of 26 digits has room for three bits only.
        if bytes.len() != 26 || bytes[0] > b'7' {
            return Err(TraceError);
        }
        bytes
            .iter()
            .try_fold(0u128, |bits, byte| {
                let digit = DIGITS.iter().position(|digit| *digit == byte.to_ascii_lowercase());
                digit.map(|digit| bits << 5 | digit as u128).ok_or(TraceError)
            })
            .map(Self)
    }
}

/// The `traceparent` of W3C Trace Context, version 00 (<https://www.w3.org/TR/trace-context/#traceparent-header>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The whole trace; never 0.
    pub trace_id: u128,
    /// The span that asks; never 0.
    pub span_id: u64,
    /// Bit 0: the caller records this trace.
    pub flags: u8,
}

impl TraceContext {
    /// A new trace, not sampled.
    pub fn random() -> Self {
        Self { trace_id: u128::from_le_bytes(random_bytes()).max(1), span_id: random_span(), flags: 0 }
    }

    /// The trace that a peer sent, if well-formed, else a new one.
    pub fn from_header(value: Option<&str>) -> Self {
        value.and_then(|text| text.parse().ok()).unwrap_or_else(Self::random)
    }

    /// The same trace with a span of its own, for the next hop.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: random_span(), ..self }
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = TraceError;

    /// Reads version 00, and of later versions the fields that version 00 has, as the standard asks.
    fn from_str(text: &str) -> Result<Self, TraceError> {
        let known = text.get(..55).ok_or(TraceError)?;
        let mut fields = known.split('-');
        let mut field = |digits: usize| {
            let field = fields.next().filter(|field| field.len() == digits).ok_or(TraceError)?;
            match field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                true => u128::from_str_radix(field, 16).map_err(|_| TraceError),
                false => Err(TraceError),
            }
        };
        let (version, trace_id, span_id, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
        let tail = &text[55..];
        let tail_fits = tail.is_empty() || (version > 0 && tail.starts_with('-'));
        if version == 0xff || trace_id == 0 || span_id == 0 || !tail_fits {
            return Err(TraceError);
        }
        // The field widths above bound both values.
        Ok(Self { trace_id, span_id: span_id as u64, flags: flags as u8 })
    }
}

/// A request id or trace context that is not well-formed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a well-formed request id or traceparent")]
pub struct TraceError;

fn random_span() -> u64 {
    u64::from_le_bytes(random_bytes()).max(1)
}

/// Random bytes from the kernel, fetched for many ids at once: a system call for each would cost more than the id.
///
/// The kernel's random source cannot fail on a running Linux (getrandom(2)); were it away, no key or id would be
/// safe and the process must not go on.
fn random_bytes<const N: usize>() -> [u8; N] {
    const POOL: usize = 1024;
    thread_local! {
        static LEFT: RefCell<([u8; POOL], usize)> = const { RefCell::new(([0; POOL], 0)) };
    }
    LEFT.with_borrow_mut(|(pool, left)| {
        if *left < N {
            getrandom::fill(pool).expect("the kernel gives random bytes");
            *left = POOL;
        }
        let taken = &mut pool[*left - N..*left];
        let mut bytes = [0; N];
        bytes.copy_from_slice(taken);
        // What was given out is not kept.
        taken.fill(0);
        *left -= N;
        bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_id_is_26_digits_without_look_alikes() {
        assert_eq!(RequestId::from_u128(0).to_string(), "0".repeat(26));
        assert_eq!(RequestId::from_u128(u128::MAX).to_string(), format!("7{}", "z".repeat(25)));
        let id = RequestId::random();
        assert_eq!(RequestId::from_header(Some(&id.to_string().to_uppercase())), id);
        for bad in ["", "x", &"z".repeat(26), &"i".repeat(26), &"0".repeat(27), "０0000000000000000000000"] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad}");
            assert_ne!(RequestId::from_header(Some(bad)), RequestId::from_header(Some(bad)));
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace: TraceContext = text.parse().unwrap();
        assert!(trace.is_sampled());
        assert_eq!(trace.to_string(), text);
        let child = trace.child();
        assert_eq!((child.trace_id, child.flags), (trace.trace_id, 1));
        assert_ne!(child.span_id, trace.span_id);
        let later = format!("01{}-more", &text[2..]);
        assert_eq!(later.parse::<TraceContext>(), Ok(trace));
        for bad in [
            "",
            &text[..54],
            &format!("{text}-more"),
            &format!("ff{}", &text[2..]),
            &format!("01{}more", &text[2..]),
            &text.to_uppercase(),
            &text.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &text.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &text.replace('-', "_"),
            &text.replace("4bf", "+bf"),
        ] {
            assert!(bad.parse::<TraceContext>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn ids_read_back(bits: u128, span in 1..u64::MAX, trace in 1..u128::MAX, flags: u8) {
            let id = RequestId::from_u128(bits);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            let context = TraceContext { trace_id: trace, span_id: span, flags };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<RequestId>();
            let _ = text.parse::<TraceContext>();
        }
    }
}
