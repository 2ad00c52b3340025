//! Extra fields of an entry.

use super::{refuse, u16_at, u64_at};
use crate::Reason;
use crate::source::Stop;

/// Sizes of more than 32 bits.
const ZIP64: u16 = 0x0001;
/// The name in UTF-8.
const UNICODE_PATH: u16 = 0x7075;
/// Encryption.
const ENCRYPTED: &[u16] = &[0x0017, 0x9901, 0x0014, 0x0015, 0x0016, 0x0019];

/// What the extra fields add.
#[derive(Debug, Default)]
pub(super) struct Extra<'a> {
    zip64: Option<&'a [u8]>,
    /// The name that some readers take instead.
    pub(super) name: Option<&'a [u8]>,
}

/// Reads extra fields. Padding of fewer than four bytes is taken.
pub(super) fn read(mut bytes: &[u8]) -> Result<Extra<'_>, Stop> {
    let mut extra = Extra::default();
    while bytes.len() >= 4 {
        let (id, length) = (u16_at(bytes, 0), usize::from(u16_at(bytes, 2)));
        let Some(field) = bytes.get(4..4 + length) else {
            // Zeros are padding too.
            return if bytes.iter().all(|byte| *byte == 0) {
                Ok(extra)
            } else {
                refuse(Reason::ArchiveLyingSizes)
            };
        };
        match id {
            ZIP64 if extra.zip64.is_some() => return refuse(Reason::ArchiveLyingSizes),
            ZIP64 => extra.zip64 = Some(field),
            // A version and a checksum stand before the name.
            UNICODE_PATH => extra.name = field.get(5..),
            id if ENCRYPTED.contains(&id) => return refuse(Reason::ArchiveEncrypted),
            _ => {}
        }
        bytes = &bytes[4 + length..];
    }
    Ok(extra)
}

impl Extra<'_> {
    /// Fills in those of the values that did not fit into 32 bits, in the order in which they are told.
    pub(super) fn widen(&self, values: &mut [&mut u64]) -> Result<(), Stop> {
        let mut at = 0;
        for value in values.iter_mut().filter(|value| ***value == u64::from(u32::MAX)) {
            match self.zip64.filter(|field| field.len() >= at + 8) {
                Some(field) => **value = u64_at(field, at),
                None => return refuse(Reason::ArchiveLyingSizes),
            }
            at += 8;
        }
        Ok(())
    }
}
