//! Conversions of the values that Redis replies with.

use redis::Value;

use super::ConnectionError;

/// Converts a value to the expected type. A value of another shape is an error of the server or of this code, and ends
/// the connection.
pub(crate) trait ValueExt: Sized {
    fn text(self) -> Result<String, ConnectionError>;
    fn bytes(self) -> Result<Option<Vec<u8>>, ConnectionError>;
    fn number(self) -> Result<i64, ConnectionError>;
    fn list(self) -> Result<Vec<Value>, ConnectionError>;
    fn texts(self) -> Result<Vec<String>, ConnectionError>;
    /// Returns the fields of a hash, each followed by its value.
    fn pairs(self) -> Result<Vec<Value>, ConnectionError>;
}

impl ValueExt for Value {
    fn text(self) -> Result<String, ConnectionError> {
        match self {
            Self::BulkString(bytes) => {
                String::from_utf8(bytes).map_err(|_| unexpected("not UTF-8"))
            }
            Self::SimpleString(text) => Ok(text),
            Self::VerbatimString { text, .. } => Ok(text),
            Self::Okay => Ok("OK".to_owned()),
            Self::Int(number) => Ok(number.to_string()),
            Self::Nil => Ok(String::new()),
            other => Err(unexpected(shape(&other))),
        }
    }

    fn bytes(self) -> Result<Option<Vec<u8>>, ConnectionError> {
        match self {
            Self::BulkString(bytes) => Ok(Some(bytes)),
            Self::Nil | Self::Boolean(false) => Ok(None),
            other => other.text().map(|text| Some(text.into_bytes())),
        }
    }

    fn number(self) -> Result<i64, ConnectionError> {
        match self {
            Self::Int(number) => Ok(number),
            Self::Nil => Ok(0),
            other => {
                let text = other.text()?;
                text.parse().map_err(|_| unexpected("not a number"))
            }
        }
    }

    fn list(self) -> Result<Vec<Value>, ConnectionError> {
        match self {
            Self::Array(values) | Self::Set(values) => Ok(values),
            Self::Nil => Ok(Vec::new()),
            other => Err(unexpected(shape(&other))),
        }
    }

    fn texts(self) -> Result<Vec<String>, ConnectionError> {
        self.list()?.into_iter().map(ValueExt::text).collect()
    }

    fn pairs(self) -> Result<Vec<Value>, ConnectionError> {
        match self {
            Self::Map(pairs) => Ok(pairs.into_iter().flat_map(<[Value; 2]>::from).collect()),
            other => other.list(),
        }
    }
}

/// Describes a value without its content, which may be clients' data.
fn shape(value: &Value) -> &'static str {
    match value {
        Value::ServerError(_) => "an error",
        Value::Array(_) | Value::Set(_) => "a list",
        Value::Map(_) => "a map",
        Value::Push { .. } => "a message",
        _ => "a value of another kind",
    }
}

fn unexpected(what: &str) -> ConnectionError {
    ConnectionError(format!("Redis replied with something unexpected ({what})"))
}

/// The text of an error reply: `OOM command not allowed …`. It may contain names of keys, never data.
pub(crate) fn error_text(error: &redis::ServerError) -> String {
    format!("{} {}", error.code(), error.details().unwrap_or_default())
        .trim_end()
        .to_owned()
}
