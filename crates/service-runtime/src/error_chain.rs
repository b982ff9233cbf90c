//! Prints an error with its causes: our error texts never repeat their source, so the place that logs walks the chain.

use std::{error::Error, fmt};

/// Displays `error: cause: cause of the cause`.
///
/// ```
/// use service_runtime::error_chain::ErrorChain;
/// let error = anyhow::anyhow!("connection refused").context("insert block");
/// assert_eq!(ErrorChain(error.as_ref()).to_string(), "insert block: connection refused");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ErrorChain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
