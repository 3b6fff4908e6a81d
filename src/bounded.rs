//! `section!` declares a section of the settings: each key once, with its type and its default. Behind `as` stands how it
//! is read and written where its type does not say that: [`Whole`], [`Seconds`] and [`Milliseconds`] are within bounds.
//!
//! A problem says the bounds. A number that is read is the proof that it is within them.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;

macro_rules! section {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(as $with:literal)? = $default:expr,)*
        }
    ) => {
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $(#[serde(with = $with)])? $field_vis $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

pub(crate) use section;

/// A whole number from `MIN` to `MAX`, as any type of number that holds both, or as one that may be left out.
pub struct Whole<const MIN: u32, const MAX: u32>;

/// A duration of whole seconds from `MIN` to `MAX`.
pub type Seconds<const MIN: u32, const MAX: u32> = Units<1000, MIN, MAX>;

/// A duration of whole milliseconds from `MIN` to `MAX`.
pub type Milliseconds<const MIN: u32, const MAX: u32> = Units<1, MIN, MAX>;

/// A duration of units of `MS` milliseconds, from `MIN` to `MAX` of them.
pub struct Units<const MS: u64, const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Visitor<'_> for Whole<MIN, MAX> {
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

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    /// Reads one.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn deserialize<'de, T: de::DeserializeOwned, D>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
    {
        let number = deserializer.deserialize_i64(Self)?;
        T::deserialize(Value::from(number)).map_err(de::Error::custom)
    }

    /// Writes one as it is.
    ///
    /// # Errors
    /// If the serializer takes no number.
    pub fn serialize<T: Serialize, S: Serializer>(number: &T, to: S) -> Result<S::Ok, S::Error> {
        number.serialize(to)
    }
}

impl<const MS: u64, const MIN: u32, const MAX: u32> Units<MS, MIN, MAX> {
    /// Reads one.
    ///
    /// # Errors
    /// If the value is something else.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let units: u64 = Whole::<MIN, MAX>::deserialize(deserializer)?;
        Ok(Duration::from_millis(units * MS))
    }

    /// Writes one as it is read.
    ///
    /// # Errors
    /// If the serializer takes no number.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        let units = u64::try_from(duration.as_millis() / u128::from(MS));
        units.unwrap_or(u64::MAX).serialize(to)
    }
}
