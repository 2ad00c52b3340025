//! What the pages of the portal, the desk and the console share.
//!
//! One face for three places: a layout (`templates/base.html`, which the templates of the zones extend), one style
//! sheet and one small script served under names that carry their content's hash, icons and charts drawn as SVG on
//! the server, words in two languages that cannot be half translated, and the ways in which money, energy and dates
//! are written. Nothing here reads a file, a socket or a clock.
pub mod assets;
pub mod chart;
pub mod format;
pub mod frame;
pub mod headers;
pub mod icon;
pub mod language;
pub mod words;

pub use chart::Chart;
/// The values that pages show, for crates that show them and compute nothing.
pub use domain;
pub use format::Format;
pub use frame::Frame;
pub use icon::icon;
pub use protocol::envelope::Language;
