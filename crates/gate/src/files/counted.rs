//! What both halves count of the files that cross.
use protocol::{bounds::ShortName, file::Ended};

/// A file between its offer and its end, in this half.
pub(super) struct InFlight(());

impl InFlight {
    pub(super) fn enter() -> Self {
        metrics::gauge!("gate_files_in_flight").increment(1);
        InFlight(())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        metrics::gauge!("gate_files_in_flight").decrement(1);
    }
}

/// Something that may not be, by its reason; where it came over a connection, that connection was closed.
pub(super) fn refused(reason: &'static str) {
    metrics::counter!("gate_file_refused_total", "reason" => reason).increment(1);
}

/// A piece that was passed on, or taken in.
pub(super) fn piece(raw_bytes: usize, wire_bytes: usize) {
    metrics::counter!("gate_file_pieces_total").increment(1);
    metrics::counter!("gate_file_bytes_total", "form" => "raw").increment(raw_bytes as u64);
    metrics::counter!("gate_file_bytes_total", "form" => "wire").increment(wire_bytes as u64);
}

/// What became of a file.
pub(super) fn ended(ended: &Ended) {
    let (outcome, reason) = names(ended);
    metrics::counter!("gate_files_total", "outcome" => outcome, "reason" => reason).increment(1);
}

fn names(ended: &Ended) -> (&'static str, String) {
    match ended {
        Ended::Stored(_) => ("stored", String::new()),
        Ended::Refused(reason) => ("refused", reason.to_string()),
        Ended::NotNow(reason) => ("not-now", reason.to_string()),
    }
}

/// How a fetch ended: with all that was asked for, or why not.
pub(super) fn fetched(ended: Option<&Ended>) {
    let (outcome, reason) = ended.map_or_else(|| ("given", String::new()), names);
    metrics::counter!("gate_fetches_total", "outcome" => outcome, "reason" => reason).increment(1);
}

/// A reason's code; underscores of codes from elsewhere become hyphens.
pub(super) fn code(text: &str) -> ShortName {
    match text.replace('_', "-").parse() {
        Ok(code) => code,
        // Every code that is said here is short; a test holds the problem codes to it.
        Err(_) => unreachable!("{text} is no short name"),
    }
}
