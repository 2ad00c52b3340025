//! Windows of the day, minutes of local wall-clock time.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const DAY_MIN: u16 = 1440;

/// A window of the day, written `22:00-08:00`; it may wrap midnight, `00:00-24:00` is the whole day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    start_min: u16,
    end_min: u16,
}

/// A text that is no window of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a window of the day: expected HH:MM-HH:MM with two different ends")]
pub struct WindowError;

impl Window {
    /// The window from minute `start_min` (0 to 1,439) to before minute `end_min` (1 to 1,440).
    ///
    /// # Errors
    /// [`WindowError`] outside these ranges, or where both are the same time of day.
    pub fn new(start_min: u16, end_min: u16) -> Result<Window, WindowError> {
        if start_min < DAY_MIN && (1..=DAY_MIN).contains(&end_min) && start_min != end_min {
            Ok(Window { start_min, end_min })
        } else {
            Err(WindowError)
        }
    }

    /// First minute of the day.
    pub fn start_min(self) -> u16 {
        self.start_min
    }

    /// The minute of the day before which it ends; below `start_min` where it wraps midnight.
    pub fn end_min(self) -> u16 {
        self.end_min
    }

    /// Whether `minute` of the day lies in it.
    pub fn contains(self, minute: u16) -> bool {
        if self.start_min < self.end_min {
            (self.start_min..self.end_min).contains(&minute)
        } else {
            minute >= self.start_min || minute < self.end_min
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (start, end) = (self.start_min, self.end_min);
        write!(f, "{:02}:{:02}-{:02}:{:02}", start / 60, start % 60, end / 60, end % 60)
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Window, WindowError> {
        let (start, end) = text.split_once('-').ok_or(WindowError)?;
        // 00:00 as an end is midnight at the end of the day.
        let end = if end == "00:00" { DAY_MIN } else { minute(end)? };
        Window::new(minute(start)?, end)
    }
}

impl TryFrom<String> for Window {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Window, WindowError> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.to_string()
    }
}

fn minute(text: &str) -> Result<u16, WindowError> {
    let (hours, minutes) = text.split_once(':').ok_or(WindowError)?;
    let part = |digits: &str, most: u16| -> Result<u16, WindowError> {
        let fits = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|value| fits && *value <= most).ok_or(WindowError)
    };
    let minute = part(hours, 24)? * 60 + part(minutes, 59)?;
    if minute <= DAY_MIN { Ok(minute) } else { Err(WindowError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_read_as_written_and_may_wrap() {
        let valley: Window = "22:00-08:00".parse().unwrap();
        assert_eq!(valley.to_string(), "22:00-08:00");
        assert!(valley.contains(1320) && valley.contains(0) && valley.contains(479));
        assert!(!valley.contains(480) && !valley.contains(1319));
        let day: Window = "00:00-24:00".parse().unwrap();
        assert!(day.contains(0) && day.contains(1439));
        assert_eq!("22:00-00:00".parse::<Window>().unwrap().end_min(), 1440);
        for bad in
            ["", "8-22", "08:00", "08:00-08:00", "24:00-08:00", "08:60-09:00", "08:00-24:01", "+8:00-09:00"]
        {
            assert_eq!(bad.parse::<Window>(), Err(WindowError), "{bad:?}");
        }
    }
}
