//! Marks of content that acts: pages, scripts, code for servers.

use crate::Reason;
use crate::source::Stop;

/// What makes a browser or a server act on text, in lower case. Each is looked for where it is followed by a blank or
/// an end of the tag, so that noise in a picture is not taken for one.
const TAGS: &[&[u8]] = &[
    b"<!doctype",
    b"<html",
    b"<head",
    b"<body",
    b"<script",
    b"<iframe",
    b"<object",
    b"<embed",
    b"<applet",
    b"<?php",
];

/// Those that are complete in themselves.
const WORDS: &[&[u8]] = &[b"<?=$_", b"<%@ page", b"<%=req", b"<%eval"];

/// A command that a server runs. It is so short that noise has it once in four billion places, so what follows must be
/// a command's: at least "x`?>".
const COMMAND: &[u8] = b"<?=`";
const COMMAND_LEAST: usize = 4;

/// The longest of them with what follows.
const LONGEST: usize = 10;

/// Whether one of the marks stands at the beginning of `bytes`.
pub(crate) fn mark_at(bytes: &[u8]) -> bool {
    let starts = |mark: &[u8]| bytes.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/');
    let is_typed = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    WORDS.iter().any(|mark| starts(mark))
        || starts(COMMAND) && bytes[COMMAND.len()..].get(..COMMAND_LEAST).is_some_and(is_typed)
        || TAGS.iter().any(|mark| starts(mark) && bytes.get(mark.len()).is_some_and(ends))
}

/// Whether one of the marks stands anywhere in `bytes`.
pub(crate) fn mark_in(bytes: &[u8]) -> bool {
    // What is compressed is full of the first byte; the second tells nearly all of those from a mark.
    let may_be = |at: usize| bytes.get(at + 1).is_none_or(|second| b"!?%hbsioeaHBSIOEA".contains(second));
    memchr::memchr_iter(b'<', bytes).any(|at| may_be(at) && mark_at(&bytes[at..]))
}

/// Looks for marks in what is handed to it piece by piece.
#[derive(Default)]
pub(crate) struct Marks {
    /// The end of what came before, where a mark may have begun.
    tail: Vec<u8>,
}

impl Marks {
    /// Refuses with `why` where a mark is found.
    pub(crate) fn push(&mut self, bytes: &[u8], why: Reason) -> Result<(), Stop> {
        if !self.tail.is_empty() {
            self.tail.extend_from_slice(&bytes[..bytes.len().min(LONGEST)]);
            if mark_in(&self.tail) {
                return Err(Stop::Refuse(why));
            }
        }
        if mark_in(bytes) {
            return Err(Stop::Refuse(why));
        }
        if bytes.len() >= LONGEST {
            self.tail.clear();
            self.tail.extend_from_slice(&bytes[bytes.len() - LONGEST..]);
        } else {
            // Short pieces: the tail already holds them, or is empty.
            if self.tail.is_empty() {
                self.tail.extend_from_slice(bytes);
            }
            let excess = self.tail.len().saturating_sub(LONGEST);
            self.tail.drain(..excess);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_however_it_is_cut() {
        for mark in ["xx<ScRipt>yy", "<?php echo", "zzzzzzzzzzzzzz<%eval", "<!DOCTYPE html>"] {
            for size in 1..mark.len() {
                let mut marks = Marks::default();
                let found = mark.as_bytes().chunks(size).any(|piece| {
                    matches!(marks.push(piece, Reason::Polyglot), Err(Stop::Refuse(Reason::Polyglot)))
                });
                assert!(found, "{mark} in pieces of {size}");
            }
        }
        assert!(mark_in(b"x<?=`id`?>") && !mark_in(b"x<?=`\x80\x00d`?>"));
        for text in ["<scripture>", "a < b", "<x:xmpmeta xmlns:x='adobe:ns:meta/'>", "<?phpx", "<%"] {
            assert!(!mark_in(text.as_bytes()), "{text}");
        }
    }
}
