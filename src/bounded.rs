//! `section!` declares a section of the settings: each key once, with its type and its default. Numbers within bounds are
//! read by serde attributes: `deserialize_with = "number::<1, 3600, _, _>"`.
//!
//! A problem says the bounds. A number that is read is the proof that it is within them.

use std::fmt;
use std::time::Duration;

use serde::Serializer;
use serde::de::value::U32Deserializer;
use serde::de::{self, Deserialize, Deserializer, Visitor};

macro_rules! section {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty = $default:expr,)*
        }
    ) => {
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

pub(crate) use section;

struct Bounds<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Visitor<'_> for Bounds<MIN, MAX> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<u32, E> {
        u32::try_from(number)
            .ok()
            .filter(|number| (MIN..=MAX).contains(number))
            .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(number), &self))
    }
}

/// Reads a whole number from `MIN` to `MAX` into any type of number that holds both.
///
/// # Errors
/// If the value is something else.
pub fn number<'de, const MIN: u32, const MAX: u32, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let number = deserializer.deserialize_i64(Bounds::<MIN, MAX>)?;
    T::deserialize(U32Deserializer::new(number))
}

/// The same for a key that may be left out.
///
/// # Errors
/// If the value is something else.
pub fn optional<'de, const MIN: u32, const MAX: u32, T, D>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    number::<MIN, MAX, T, D>(deserializer).map(Some)
}

/// Reads a whole number of seconds from `MIN` to `MAX`.
///
/// # Errors
/// If the value is something else.
pub fn seconds<'de, const MIN: u32, const MAX: u32, D>(
    deserializer: D,
) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    number::<MIN, MAX, u64, D>(deserializer).map(Duration::from_secs)
}

/// Reads a whole number of milliseconds from `MIN` to `MAX`.
///
/// # Errors
/// If the value is something else.
pub fn milliseconds<'de, const MIN: u32, const MAX: u32, D>(
    deserializer: D,
) -> Result<Duration, D::Error>
where
    D: Deserializer<'de>,
{
    number::<MIN, MAX, u64, D>(deserializer).map(Duration::from_millis)
}

/// Writes a duration as [`seconds`] reads it.
///
/// # Errors
/// If the serializer takes no number.
pub fn as_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// Writes a duration as [`milliseconds`] reads it.
///
/// # Errors
/// If the serializer takes no number.
pub fn as_milliseconds<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
