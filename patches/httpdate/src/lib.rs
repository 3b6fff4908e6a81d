//! Dates as HTTP has them (RFC 9110 §5.6.7): what actix-http needs of the `httpdate` crate, without a panic for any
//! clock. A time before 1970 or after 9999 is written as the nearest that can be.
//!
//! Only the preferred form is read, `Sun, 06 Nov 1994 08:49:37 GMT`; the two obsolete ones are errors.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 3600;
/// The last second of the year 9999, since 1970.
const LAST: u64 = 253_402_300_799;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// A second from 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpDate(u64);

/// A text that is no date.
#[derive(Debug)]
pub struct Error(());

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a date like \"Sun, 06 Nov 1994 08:49:37 GMT\"")
    }
}

impl std::error::Error for Error {}

/// Reads a date.
///
/// # Errors
/// It is not in the preferred form.
pub fn parse_http_date(text: &str) -> Result<SystemTime, Error> {
    text.parse().map(|date: HttpDate| date.into())
}

/// Writes a date.
#[must_use]
pub fn fmt_http_date(time: SystemTime) -> String {
    HttpDate::from(time).to_string()
}

impl From<SystemTime> for HttpDate {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_secs().min(LAST))
    }
}

impl From<HttpDate> for SystemTime {
    fn from(date: HttpDate) -> Self {
        UNIX_EPOCH
            .checked_add(Duration::from_secs(date.0))
            .unwrap_or(UNIX_EPOCH)
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

fn days_of_month(year: u64, month: usize) -> u64 {
    match month {
        1 => 28 + u64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the begin of a year.
fn days_before(year: u64) -> u64 {
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

impl fmt::Display for HttpDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / DAY, self.0 % DAY);
        // Years are at most 366 days long, so this is never too late, and seldom more than a year or two too early.
        let mut year = 1970 + days / 366;
        while days >= days_before(year) + days_of_year(year) {
            year += 1;
        }
        let mut day = days - days_before(year);
        let mut month = 0;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        write!(
            f,
            "{}, {:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            WEEKDAYS[usize::try_from(days % 7).unwrap_or_default()],
            day + 1,
            MONTHS[month],
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }
}

impl FromStr for HttpDate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let rest = text.split_once(", ")?.1.strip_suffix(" GMT")?;
            let mut parts = rest.split([' ', ':']);
            let day: u64 = parts.next()?.parse().ok()?;
            let name = parts.next()?;
            let month = MONTHS.iter().position(|month| *month == name)?;
            let year: u64 = parts.next()?.parse().ok()?;
            let mut clock = [0; 3];
            for (part, below) in clock.iter_mut().zip([24, 60, 61]) {
                *part = parts.next()?.parse().ok()?;
                (*part < below).then_some(())?;
            }
            let is_day = (1970..=9999).contains(&year)
                && (1..=days_of_month(year, month)).contains(&day)
                && parts.next().is_none();
            is_day.then_some(())?;
            let months: u64 = (0..month).map(|month| days_of_month(year, month)).sum();
            let days = days_before(year) + months + day - 1;
            let seconds = clock[0] * 3600 + clock[1] * 60 + clock[2];
            Some(Self((days * DAY + seconds).min(LAST)))
        };
        parse().ok_or(Error(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_and_read() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_475_419_451, "Sun, 02 Oct 2016 14:44:11 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(HttpDate(seconds).to_string(), text);
            assert_eq!(text.parse::<HttpDate>().unwrap(), HttpDate(seconds));
        }
        for day in 0..LAST / DAY {
            let date = HttpDate(day * DAY + 1);
            assert_eq!(date.to_string().parse::<HttpDate>().unwrap(), date);
        }
        for text in ["", "now", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT"] {
            assert!(text.parse::<HttpDate>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_clock_is_a_panic() {
        let early = UNIX_EPOCH - Duration::from_secs(300_000_000);
        assert_eq!(fmt_http_date(early), "Thu, 01 Jan 1970 00:00:00 GMT");
        let late = UNIX_EPOCH + Duration::from_secs(300_000_000_000);
        assert_eq!(fmt_http_date(late), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
