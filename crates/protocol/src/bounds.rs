//! Values that know their own limits: what does not fit is refused while it is decoded, before anything is done.
use std::{fmt, ops::Deref, str::FromStr};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, Visitor},
};

/// Why a value was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// Longer than it may be.
    #[error("longer than {max} bytes")]
    TooLong {
        /// The most bytes allowed.
        max: usize,
    },
    /// More than there may be.
    #[error("more than {max}")]
    TooMany {
        /// The most allowed.
        max: usize,
    },
    /// Empty where something is needed.
    #[error("must not be empty")]
    Empty,
    /// A control or text-direction character.
    #[error("control characters are not allowed")]
    Control,
    /// Of another form than asked for.
    #[error("{0}")]
    Form(&'static str),
}

/// Text of any script, at most `MAX` bytes, without control characters and without the invisible ones that change
/// the direction of what follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Checks and takes a text.
    pub fn new(text: impl Into<String>) -> Result<Self, BoundsError> {
        let text = text.into();
        if text.len() > MAX {
            return Err(BoundsError::TooLong { max: MAX });
        }
        let forbidden =
            |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if text.chars().any(forbidden) {
            return Err(BoundsError::Control);
        }
        Ok(Text(text))
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Text::new(String::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// Text of many lines, at most `MAX` bytes: as [`Text`], but a line feed is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Prose<const MAX: usize>(String);

impl<const MAX: usize> Prose<MAX> {
    /// Checks and takes a text. Line ends of other systems become a line feed; what is blank at both ends goes.
    pub fn new(text: &str) -> Result<Self, BoundsError> {
        Self::exact(text.replace("\r\n", "\n").trim().to_owned())
    }

    fn exact(text: String) -> Result<Self, BoundsError> {
        if text.len() > MAX {
            return Err(BoundsError::TooLong { max: MAX });
        }
        if text.split('\n').any(|line| Text::<MAX>::new(line).is_err()) {
            return Err(BoundsError::Control);
        }
        Ok(Prose(text))
    }
}

impl<const MAX: usize> Deref for Prose<MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> utoipa::PartialSchema for Prose<MAX> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let pattern = r"^(\r\n|[^\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069])*$";
        let description = format!("Text of many lines in any script, at most {MAX} bytes in UTF-8.");
        domain::schema::text(pattern, MAX, &description, None)
    }
}

impl<const MAX: usize> utoipa::ToSchema for Prose<MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Prose{MAX}").into()
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Prose<MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // People's programs send what their system makes of a line end; between zones it is in its one form already.
        let is_from_people = d.is_human_readable();
        let text = String::deserialize(d)?;
        let read = if is_from_people { Prose::new(&text) } else { Prose::exact(text) };
        read.map_err(D::Error::custom)
    }
}

/// At most `MAX` values, refused while they are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Few<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> Few<T, MAX> {
    /// Takes values that fit.
    pub fn new(values: Vec<T>) -> Result<Self, BoundsError> {
        if values.len() > MAX { Err(BoundsError::TooMany { max: MAX }) } else { Ok(Few(values)) }
    }
}

impl<T, const MAX: usize> Deref for Few<T, MAX> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Few<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Values<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Values<T, MAX> {
            type Value = Few<T, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} values")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T, MAX>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    if values.len() == MAX {
                        return Err(A::Error::custom(BoundsError::TooMany { max: MAX }));
                    }
                    values.push(value);
                }
                Ok(Few(values))
            }
        }
        d.deserialize_seq(Values(std::marker::PhantomData))
    }
}

macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $form:literal, $pattern:literal, $longest:literal, $example:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BoundsError;
            fn from_str(text: &str) -> Result<Self, BoundsError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok($name(text.to_owned())) } else { Err(BoundsError::Form($form)) }
            }
        }

        domain::text_schema!($name, $pattern, $longest, $form, $example);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                <std::borrow::Cow<'de, str>>::deserialize(d)?.parse().map_err(D::Error::custom)
            }
        }
    };
}

checked_text!(
    /// A mobile phone number of mainland China: eleven digits beginning with 1.
    Phone,
    "a phone number has eleven digits and begins with 1",
    "^1[0-9]{10}$",
    11,
    "19900000001",
    |t| t.len() == 11 && t.starts_with('1') && t.bytes().all(|b| b.is_ascii_digit())
);
checked_text!(
    /// A one-time code: six digits.
    OneTimeCode,
    "a one-time code has six digits",
    "^[0-9]{6}$",
    6,
    "123456",
    |t| t.len() == 6 && t.bytes().all(|b| b.is_ascii_digit())
);
checked_text!(
    /// What makes a write the same write when it is sent again: 1 to 128 visible ASCII characters.
    IdempotencyKey,
    "an idempotency key has 1 to 128 visible ASCII characters",
    "^[!-~]{1,128}$",
    128,
    "0b2f1a54-6f0e-4a43-9a3e-0f4bb6a3f3c1",
    |t| (1..=128).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_graphic())
);
checked_text!(
    /// The short name of a client program, a payment provider, a method: lower-case letters, digits, `-`; at most 32.
    ShortName,
    "a short name has 1 to 32 of a-z, 0-9 and -",
    "^[a-z0-9-]{1,32}$",
    32,
    "sim-pay",
    |t| (1..=32).contains(&t.len()) && t.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
);

impl<const MAX: usize> utoipa::PartialSchema for Text<MAX> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let pattern = r"^[^\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*$";
        let description =
            format!("Text of any script without control characters, at most {MAX} bytes in UTF-8.");
        domain::schema::text(pattern, MAX, &description, None)
    }
}

impl<const MAX: usize> utoipa::ToSchema for Text<MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Text{MAX}").into()
    }
}

/// A text that nobody is to see: it is not shown in any log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret<const MAX: usize>(Text<MAX>);

impl<const MAX: usize> Secret<MAX> {
    /// Checks and takes a text.
    pub fn new(text: impl Into<String>) -> Result<Self, BoundsError> {
        Text::new(text).map(Secret)
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Secret<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a secret")
    }
}

impl<const MAX: usize> utoipa::PartialSchema for Secret<MAX> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        Text::<MAX>::schema()
    }
}

impl<const MAX: usize> utoipa::ToSchema for Secret<MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Secret{MAX}").into()
    }
}

/// Raw bytes, at most `MAX`, that nobody on the way looks into.
#[derive(Clone, PartialEq, Eq)]
pub struct Opaque<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Opaque<MAX> {
    /// Takes bytes that fit.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, BoundsError> {
        let bytes = bytes.into();
        if bytes.len() > MAX { Err(BoundsError::TooLong { max: MAX }) } else { Ok(Opaque(bytes)) }
    }
}

impl<const MAX: usize> Deref for Opaque<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Opaque<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} opaque bytes", self.0.len())
    }
}

impl<const MAX: usize> Serialize for Opaque<MAX> {
    /// As bytes, in one piece.
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Opaque<MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Bytes<const MAX: usize>;
        impl<const MAX: usize> Visitor<'_> for Bytes<MAX> {
            type Value = Opaque<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Opaque<MAX>, E> {
                Opaque::new(bytes).map_err(E::custom)
            }
        }
        d.deserialize_bytes(Bytes)
    }
}

impl<const MAX: usize> utoipa::PartialSchema for Opaque<MAX> {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        domain::schema::text("", MAX, "Raw bytes.", None)
    }
}

impl<const MAX: usize> utoipa::ToSchema for Opaque<MAX> {
    fn name() -> std::borrow::Cow<'static, str> {
        format!("Opaque{MAX}").into()
    }
}

fn whole_number(least: i64, most: i64, description: &str) -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
    use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
        .minimum(Some(least))
        .maximum(Some(most))
        .description(Some(description))
        .into()
}

macro_rules! bounded_number {
    ($(#[$doc:meta])* $name:ident: $number:ty as $text:literal, $least:literal to $most:literal, $form:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = $text, into = $text)]
        pub struct $name($number);

        impl $name {
            /// The smallest.
            pub const LEAST: $name = $name($least);

            /// The number itself.
            pub fn get(self) -> $number {
                self.0
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                whole_number($least, $most, $form)
            }
        }

        impl utoipa::ToSchema for $name {}

        impl TryFrom<$number> for $name {
            type Error = BoundsError;
            fn try_from(number: $number) -> Result<Self, BoundsError> {
                if ($least..=$most).contains(&number) {
                    Ok($name(number))
                } else {
                    Err(BoundsError::Form($form))
                }
            }
        }

        impl From<$name> for $number {
            fn from(bounded: $name) -> $number {
                bounded.0
            }
        }
    };
}

bounded_number!(
    /// A calendar year.
    Year: i16 as "i16", 1970 to 9998, "a year is between 1970 and 9998"
);
bounded_number!(
    /// Energy that is asked about, in Wh: up to 1 TWh.
    QuotedWh: i64 as "i64", 0 to 1_000_000_000_000, "energy is between 0 and 1000000000000 Wh"
);
bounded_number!(
    /// The length of a file, in bytes: up to 16 GiB.
    FileSize: u64 as "u64", 1 to 17_179_869_184, "a file has between 1 and 17179869184 bytes"
);
bounded_number!(
    /// A notice's number.
    NoticeNumber: u64 as "u64", 0 to 9_223_372_036_854_775_807, "a number is at most 9223372036854775807"
);
bounded_number!(
    /// A share of a thousand.
    PerMille: u16 as "u16", 0 to 1000, "a share is between 0 and 1000 per mille"
);

/// A positive amount of money, at most ten million yuan, in fen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct PayableFen(i64);

impl PayableFen {
    /// The largest payable amount.
    pub const MAX: i64 = 1_000_000_000;

    /// The amount.
    pub fn fen(self) -> domain::money::Fen {
        domain::money::Fen(self.0)
    }
}

impl utoipa::PartialSchema for PayableFen {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        whole_number(1, PayableFen::MAX, "An amount that can be paid, in fen.")
    }
}

impl utoipa::ToSchema for PayableFen {}

impl TryFrom<i64> for PayableFen {
    type Error = BoundsError;
    fn try_from(fen: i64) -> Result<Self, BoundsError> {
        if (1..=Self::MAX).contains(&fen) {
            Ok(PayableFen(fen))
        } else {
            Err(BoundsError::Form("an amount is between 1 and 1000000000 fen"))
        }
    }
}

impl From<PayableFen> for i64 {
    fn from(p: PayableFen) -> i64 {
        p.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_takes_any_script_but_no_control_characters() {
        assert!(Text::<16>::new("电费 bill").is_ok());
        assert_eq!(Text::<4>::new("电费"), Err(BoundsError::TooLong { max: 4 }));
        for bad in ["a\nb", "\u{1b}[2J", "a\u{202e}b", "\0"] {
            assert_eq!(Text::<16>::new(bad), Err(BoundsError::Control), "{bad:?}");
        }
    }

    #[test]
    fn prose_has_lines_and_no_other_control_characters() {
        assert_eq!(&*Prose::<16>::new(" a\r\nb\n ").unwrap(), "a\nb");
        for bad in ["a\tb", "a\rb", "\u{1b}[2J", "a\u{202e}b"] {
            assert_eq!(Prose::<16>::new(bad), Err(BoundsError::Control), "{bad:?}");
        }
        assert_eq!(Prose::<4>::new("电费"), Err(BoundsError::TooLong { max: 4 }));
        assert_eq!(&*serde_json::from_str::<Prose<16>>(r#""a\r\nb""#).unwrap(), "a\nb");
        let bytes = postcard::to_stdvec("a\r\nb").unwrap();
        assert!(postcard::from_bytes::<Prose<16>>(&bytes).is_err(), "between zones there is one form");
    }

    #[test]
    fn a_list_too_long_is_refused_while_it_is_read() {
        assert_eq!(serde_json::from_str::<Few<u8, 2>>("[1,2]").unwrap().len(), 2);
        assert!(serde_json::from_str::<Few<u8, 2>>("[1,2,3]").is_err());
        assert_eq!(Few::<u8, 2>::new(vec![1, 2, 3]), Err(BoundsError::TooMany { max: 2 }));
        let lying = [0xff, 0xff, 0xff, 0xff, 0x0f, 1, 2];
        assert!(postcard::from_bytes::<Few<u8, 2>>(&lying).is_err());
    }

    #[test]
    fn numbers_are_checked_while_decoding() {
        assert_eq!(serde_json::from_str::<Year>("2026").map(Year::get).ok(), Some(2026));
        assert_eq!(serde_json::from_str::<PerMille>("1000").map(PerMille::get).ok(), Some(1000));
        assert_eq!(QuotedWh::try_from(0), Ok(QuotedWh::LEAST));
        for bad in ["1969", "9999", "99999", "-1", "1.5", "\"2026\""] {
            assert!(serde_json::from_str::<Year>(bad).is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<PerMille>("1001").is_err());
        assert!(QuotedWh::try_from(-1).is_err() && QuotedWh::try_from(1_000_000_000_001).is_err());
        let bytes = postcard::to_stdvec(&1_000_000_000_001i64).unwrap();
        assert!(postcard::from_bytes::<QuotedWh>(&bytes).is_err());
    }

    #[test]
    fn forms_are_checked_while_decoding() {
        assert!(serde_json::from_str::<Phone>("\"19900000001\"").is_ok());
        assert!(serde_json::from_str::<Phone>("\"29900000001\"").is_err());
        assert!(serde_json::from_str::<PayableFen>("0").is_err());
        assert!(serde_json::from_str::<PayableFen>("1000000001").is_err());
        assert!(serde_json::from_str::<IdempotencyKey>("\"a b\"").is_err());
        let long = postcard::to_stdvec(&vec![0u8; 17]).unwrap();
        assert!(postcard::from_bytes::<Opaque<16>>(&long).is_err());
    }
}
