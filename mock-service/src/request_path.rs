//! What a request's path means, by the rules of Go's `ServeMux`.
//!
//! - A path with an empty, `.` or `..` segment is redirected (301) to its clean form, before routing.
//! - A malformed percent escape is refused (400) before routing.
//! - The handlers see the path percent-decoded; bytes that are not UTF-8 become U+FFFD.
//!
//! None of the first two leaves a log line: the original's handlers never saw such a request.

use std::sync::Arc;

use http::Uri;

/// The percent-decoded path of a request, without the query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestPath(Arc<str>);

/// A `%` that two hexadecimal digits do not follow.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MalformedEscape;

impl RequestPath {
    pub(crate) fn decode(path: &str) -> Result<Self, MalformedEscape> {
        let mut decoded = Vec::with_capacity(path.len());
        let mut bytes = path.bytes();
        while let Some(byte) = bytes.next() {
            decoded.push(match byte {
                b'%' => hex_digit(bytes.next())? << 4 | hex_digit(bytes.next())?,
                plain => plain,
            });
        }
        Ok(Self(String::from_utf8_lossy(&decoded).into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows `/api/menu/`, without surrounding white space. It comes from the URL: unbounded and hostile.
    pub(crate) fn menu_item_id(&self) -> &str {
        self.0.strip_prefix("/api/menu/").unwrap_or_default().trim()
    }
}

/// Where a client should go instead: the clean form of the path with the query kept, or `None` when it is clean.
pub(crate) fn redirect(uri: &Uri) -> Option<String> {
    let clean = clean(uri.path());
    if clean == uri.path() {
        return None;
    }
    Some(match uri.query() {
        Some(query) => format!("{clean}?{query}"),
        None => clean,
    })
}

fn clean(path: &str) -> String {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    clean
}

fn hex_digit(byte: Option<u8>) -> Result<u8, MalformedEscape> {
    let digit = byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(MalformedEscape)?;
    Ok(u8::try_from(digit).expect("a hexadecimal digit is below 16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        for (path, decoded) in [
            ("/api/menu/1", "/api/menu/1"),
            ("/api/menu/%31", "/api/menu/1"),
            ("/api/menu/%2531", "/api/menu/%31"),
            ("/api/menu/a+b", "/api/menu/a+b"),
            ("/%F0%9f%8D%95", "/\u{1f355}"),
            ("/%ff", "/\u{fffd}"),
        ] {
            assert_eq!(RequestPath::decode(path).unwrap().as_str(), decoded);
        }
        for path in ["/%", "/%2", "/%zz", "/%+1"] {
            assert_eq!(RequestPath::decode(path), Err(MalformedEscape), "{path}");
        }
    }

    #[test]
    fn unclean_paths_are_redirected_to_their_clean_form() {
        for (uri, to) in [
            ("/api//menu", Some("/api/menu")),
            ("//evil.example/x", Some("/evil.example/x")),
            ("/api/menu/../../health?a=1", Some("/health?a=1")),
            ("/api/menu//", Some("/api/menu/")),
            ("/..", Some("/")),
            ("/api/menu/", None),
            ("/api/menu/%2e%2e", None),
            ("/", None),
        ] {
            assert_eq!(redirect(&uri.parse().unwrap()).as_deref(), to, "{uri}");
        }
    }
}
