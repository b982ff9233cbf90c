//! The kinds of value a key can hold, with units and bounds in the type.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    num::{NonZeroU16, NonZeroU32, NonZeroU64, NonZeroUsize},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use serde_json::Value;

use super::suggest;

/// A type that can be read from the configuration.
pub trait Setting: Sized {
    /// What a right value is, with its article and an example: "a duration such as `30s`". Serves as the remedy and in the
    /// reference.
    fn expected() -> String;

    /// Reads it from the text of an environment variable or of a YAML string. `Err` says what is wrong.
    fn from_text(text: &str) -> Result<Self, String>;

    /// The text that [`Setting::from_text`] reads back.
    fn to_text(&self) -> String;

    /// Reads it from the YAML value. Only strings are accepted unless a type says otherwise.
    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::from_text(text),
            other => Err(format!("is {}", describe(other))),
        }
    }
}

/// Reads one of a closed set of names; for `impl Setting` of an enum.
///
/// ```
/// use service_runtime::settings::choice;
/// assert_eq!(choice("lz4", &[("none", 0), ("lz4", 1)]), Ok(1));
/// assert_eq!(choice("lz5", &[("none", 0), ("lz4", 1)]), Err("`lz5` is not known; did you mean `lz4`?".to_owned()));
/// ```
pub fn choice<T: Copy>(text: &str, choices: &[(&'static str, T)]) -> Result<T, String> {
    match choices.iter().find(|(name, _)| *name == text) {
        Some((_, value)) => Ok(*value),
        None => Err(format!(
            "`{text}` is not known; {}",
            suggest::remedy(text, choices.iter().map(|(name, _)| *name))
        )),
    }
}

/// How a value reads in a problem, without its text when that could be long.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Bool(value) => format!("the truth value `{value}`"),
        Value::Number(value) => format!("the number `{value}`"),
        Value::String(_) => "text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// A number of bytes, written with a unit: `512B`, `64KiB`, `16MiB`, `10MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Largest first, so that the text of a size is the shortest exact one.
const UNITS: [(&str, u64); 8] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// `count` bytes.
    pub const fn bytes(count: u64) -> Self {
        Self(count)
    }

    /// `count` × 1024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// `count` × 1024² bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` × 1024³ bytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The number of bytes, at most what this machine can address.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(&UNITS[7]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Setting for ByteSize {
    fn expected() -> String {
        "a size such as `16MiB`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size with a unit");
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, factor) =
            UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim_start())).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(|| format!("`{text}` is out of range"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn expected() -> String {
        "text".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn to_text(&self) -> String {
        self.clone()
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            // YAML reads `1e3` or `yes`-like words as other kinds; taking them back as text would change their spelling.
            other => Err(format!("is {}; put it in quotes", describe(other))),
        }
    }
}

impl Setting for bool {
    fn expected() -> String {
        "`true` or `false`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not a truth value"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| format!("is {}", describe(value)))
    }
}

/// Numbers are read through the text of the YAML number, so that the range check is the one of the Rust type.
macro_rules! number_settings {
    ($($type:ty => $expected:expr;)*) => {$(
        impl Setting for $type {
            fn expected() -> String {
                $expected
            }

            fn from_text(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("`{text}` is not such a number, or out of range"))
            }

            fn to_text(&self) -> String {
                self.to_string()
            }

            fn from_value(value: &Value) -> Result<Self, String> {
                match value {
                    Value::Number(number) => Self::from_text(&number.to_string()),
                    other => Err(format!("is {}", describe(other))),
                }
            }
        }
    )*};
}

number_settings! {
    u16 => format!("a whole number from 0 to {}", u16::MAX);
    u32 => format!("a whole number from 0 to {}", u32::MAX);
    u64 => "a whole number, 0 or more".to_owned();
    usize => "a whole number, 0 or more".to_owned();
    i32 => format!("a whole number from {} to {}", i32::MIN, i32::MAX);
    i64 => "a whole number".to_owned();
    NonZeroU16 => format!("a whole number from 1 to {}", u16::MAX);
    NonZeroU32 => format!("a whole number from 1 to {}", u32::MAX);
    NonZeroU64 => "a whole number, 1 or more".to_owned();
    NonZeroUsize => "a whole number, 1 or more".to_owned();
}

impl Setting for f64 {
    fn expected() -> String {
        "a number".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let number = f64::from_str(text).map_err(|_| format!("`{text}` is not a number"))?;
        if number.is_finite() { Ok(number) } else { Err(format!("`{text}` is not finite")) }
    }

    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| format!("is {}", describe(value)))
    }
}

impl Setting for Duration {
    fn expected() -> String {
        "a duration such as `30s` or `1h 30m`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text).map_err(|_| format!("`{text}` is not a duration with a unit"))
    }

    fn to_text(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl Setting for PathBuf {
    fn expected() -> String {
        "a path".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("is empty".to_owned()) } else { Ok(PathBuf::from(text)) }
    }

    fn to_text(&self) -> String {
        self.display().to_string()
    }
}

impl Setting for SocketAddr {
    fn expected() -> String {
        "an address and port such as `127.0.0.1:4317`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is not an address and port"))
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl Setting for reqwest::Url {
    fn expected() -> String {
        "an http or https URL such as `http://127.0.0.1:8123`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        // The text is not repeated: it may hold a password.
        let url = reqwest::Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("has the scheme `{}`", url.scheme()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "holds credentials, which URLs leak into logs; use the keys for credentials".to_owned()
            );
        }
        Ok(url)
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::new());
        }
        text.split(',').map(|part| T::from_text(part.trim())).collect()
    }

    fn to_text(&self) -> String {
        self.iter().map(Setting::to_text).collect::<Vec<_>>().join(",")
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        let Value::Array(items) = value else { return Err(format!("is {}", describe(value))) };
        let mut list = Self::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            list.push(T::from_value(item).map_err(|what| format!("item {} {what}", index + 1))?);
        }
        Ok(list)
    }
}

impl<T: Setting> Setting for BTreeMap<String, T> {
    fn expected() -> String {
        format!("a mapping of names, each to {}", T::expected())
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let mut map = Self::new();
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| "holds a part without `=`".to_owned())?;
            map.insert(name.trim().to_owned(), T::from_text(value.trim())?);
        }
        Ok(map)
    }

    fn to_text(&self) -> String {
        self.iter().map(|(name, value)| format!("{name}={}", value.to_text())).collect::<Vec<_>>().join(",")
    }

    fn from_value(value: &Value) -> Result<Self, String> {
        let Value::Object(entries) = value else { return Err(format!("is {}", describe(value))) };
        let mut map = Self::new();
        for (name, item) in entries {
            map.insert(name.clone(), T::from_value(item).map_err(|what| format!("`{name}` {what}"))?);
        }
        Ok(map)
    }
}
