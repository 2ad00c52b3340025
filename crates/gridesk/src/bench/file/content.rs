//! What the files hold: what does not shrink, and what does, as kinds that the rules let pass.
use crate::bench::load::Dice;

/// The bytes of a file.
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// Its name's ending.
    pub(super) ending: &'static str,
    /// Where it may change and still be what it is.
    stamp: usize,
}

/// How long a stamp is.
const STAMP: usize = 16;

impl Content {
    /// A photo that does not shrink: random bytes in the one chunk of a WebP picture. `len` is even.
    pub(super) fn random(len: usize) -> Self {
        let mut bytes = Vec::with_capacity(len);
        let length = |behind: usize| u32::try_from(len - behind).unwrap_or(u32::MAX).to_le_bytes();
        bytes.extend_from_slice(b"RIFF");
        bytes.extend_from_slice(&length(8));
        bytes.extend_from_slice(b"WEBPVP8 ");
        bytes.extend_from_slice(&length(20));
        // A key frame of 4000 by 3000.
        bytes.extend_from_slice(&[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0xa0, 0x0f, 0xb8, 0x0b]);
        let stamp = bytes.len();
        let mut dice = fresh();
        while bytes.len() + 8 <= len {
            bytes.extend_from_slice(&dice.bits().to_le_bytes());
        }
        bytes.resize(len, 0);
        Content { bytes, ending: "webp", stamp }
    }

    /// A table of readings, as meters write them.
    pub(super) fn text(len: usize) -> Self {
        let mut bytes = Vec::with_capacity(len + 64);
        bytes.resize(STAMP, b'0');
        bytes.extend_from_slice(b",meter,reading_wh,quality\n");
        let (mut dice, mut n, mut reading) = (fresh(), 0u64, 1_000_000usize);
        while bytes.len() < len {
            n += 1;
            reading += dice.below(900);
            let (day, hour, quarter) = (n / 96 % 28 + 1, n / 4 % 24, n % 4 * 15);
            let meter = 33_010_600_000_000 + n / 2_688;
            let quality = if dice.below(50) == 0 { "estimated" } else { "measured" };
            let line = format!("2026-03-{day:02}T{hour:02}:{quarter:02},{meter},{reading},{quality}\n");
            bytes.extend_from_slice(line.as_bytes());
        }
        bytes.truncate(len);
        Content { bytes, ending: "csv", stamp: 0 }
    }

    /// Becomes another file of the same kind and length.
    pub(super) fn renew(&mut self) {
        let stamp = format!("{:016x}", fresh().bits());
        self.bytes[self.stamp..self.stamp + STAMP].copy_from_slice(stamp.as_bytes());
    }
}

/// Dice that nobody has rolled before.
fn fresh() -> Dice {
    let mut seed = [0; 8];
    // Without it files of two runs may be the same; then one of them costs nothing, and the figure is seen to be wrong.
    getrandom::fill(&mut seed).ok();
    Dice::new(u64::from_le_bytes(seed))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn the_rules_let_it_pass_and_it_is_what_it_says() {
        let rules = inspect::Rules::default();
        for mut content in [Content::random(300_000), Content::text(300_000), Content::text(10 << 10)] {
            let before = content.bytes.clone();
            content.renew();
            assert_ne!(before, content.bytes);
            let len = content.bytes.len() as u64;
            let verdict = inspect::inspect(&mut Cursor::new(&content.bytes), len, &rules).unwrap();
            let inspect::Verdict::Pass { kind } = verdict else { panic!("{verdict:?}") };
            assert_eq!(kind.extension(), content.ending);
        }
    }
}
