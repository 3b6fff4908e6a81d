//! Soketi's way to write a value, and ours.

/// How a value is turned into ours.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Not at all: what reads the key checks it.
    AsIs,
    /// `true`, `false`, `1` or `0`.
    Switch,
    /// A number, or one that is lower than any limit: no limit.
    Unlimited {
        /// Lower than this.
        below: i64,
        /// The value that stands for no limit; none: the default.
        by: Option<&'static str>,
    },
    /// Kilobytes of 1,024 bytes, perhaps with a fraction, as bytes.
    Kilobytes,
    /// Milliseconds as whole seconds, rounded up.
    Milliseconds,
}

impl Form {
    /// Our text; none if the default is meant. An error says what was expected.
    pub(super) fn ours(self, text: &str) -> Result<Option<String>, String> {
        let ours = match self {
            Self::AsIs => text.to_owned(),
            Self::Switch => match text {
                "1" => "true".to_owned(),
                "0" => "false".to_owned(),
                _ => text.to_owned(),
            },
            Self::Unlimited { below, by } => match text.parse::<i64>() {
                Ok(number) if number < below => return Ok(by.map(str::to_owned)),
                _ => text.to_owned(),
            },
            Self::Kilobytes => {
                let bytes = text.parse::<f64>().map(|number| (number * 1024.0).floor());
                match bytes {
                    Ok(bytes) if bytes >= 1.0 && bytes.is_finite() => format!("{bytes:.0}"),
                    _ => return Err(expected("a number of kilobytes", text)),
                }
            }
            Self::Milliseconds => match text.parse::<u64>() {
                Ok(number) => number.div_ceil(1000).to_string(),
                Err(_) => return Err(expected("a whole number of milliseconds", text)),
            },
        };
        Ok(Some(ours))
    }
}

/// Whether a switch is on.
pub(super) fn is_on(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(expected("true or false", text)),
    }
}

/// What a problem says.
pub(super) fn expected(what: &str, found: &str) -> String {
    format!("expected {what}, found the text {found:?}")
}

/// A value without the quotes of a JSON text, which Soketi takes off.
pub(super) fn unquoted(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let unlimited = |below, by| Form::Unlimited { below, by };
        for (form, text, expected) in [
            (Form::AsIs, "x", Some("x")),
            (Form::Switch, "1", Some("true")),
            (Form::Switch, "0", Some("false")),
            (Form::Switch, "true", Some("true")),
            (Form::Switch, "yes", Some("yes")),
            (unlimited(0, None), "-1", None),
            (unlimited(0, None), "0", Some("0")),
            (unlimited(1, None), "0", None),
            (unlimited(0, Some("9")), "-1", Some("9")),
            (unlimited(0, None), "12", Some("12")),
            (unlimited(0, None), "many", Some("many")),
            (Form::Kilobytes, "10", Some("10240")),
            (Form::Kilobytes, "0.5", Some("512")),
            (Form::Milliseconds, "3000", Some("3")),
            (Form::Milliseconds, "1", Some("1")),
            (Form::Milliseconds, "0", Some("0")),
        ] {
            assert_eq!(form.ours(text).unwrap().as_deref(), expected, "{text}");
        }
        for (form, text) in [
            (Form::Kilobytes, "-1"),
            (Form::Kilobytes, "0"),
            (Form::Kilobytes, "NaN"),
            (Form::Kilobytes, "inf"),
            (Form::Kilobytes, "10kB"),
            (Form::Milliseconds, "-1"),
            (Form::Milliseconds, "3s"),
        ] {
            let error = form.ours(text).unwrap_err();
            assert!(error.ends_with(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn quotes() {
        for (text, expected) in [
            ("\"a b\"", "a b"),
            ("a b", "a b"),
            ("6001", "6001"),
            ("\"half", "\"half"),
        ] {
            assert_eq!(unquoted(text), expected);
        }
    }
}
