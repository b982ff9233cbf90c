//! Credentials of an HTTP connection: none, a user with password, or a bearer token.

use reqwest::RequestBuilder;

use crate::{Secret, Section};

/// How requests prove who sends them. `Debug` prints no secret.
#[derive(Debug, Clone, Default)]
pub enum HttpAuth {
    /// Not at all.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The password; a user may have none.
        password: Option<Secret>,
    },
    /// `Authorization: Bearer …`.
    Bearer(Secret),
}

impl HttpAuth {
    /// Reads `username`, `password` and `bearer_token`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let username: Option<String> = section.optional("username", "User of HTTP basic authentication.");
        let password = section.secret("password", "Password of that user.");
        let token = section.secret("bearer_token", "Token sent as `Authorization: Bearer`.");
        match (username, password, token) {
            (None, None, None) => Self::None,
            (None, None, Some(token)) => Self::Bearer(token),
            (Some(username), password, None) => Self::Basic { username, password },
            (None, Some(_), _) => {
                section.problem("username", "is missing beside `password`", "give both, or none");
                Self::None
            }
            (Some(_), _, Some(_)) => {
                section.problem("bearer_token", "is set beside `username`", "give one kind of credentials");
                Self::None
            }
        }
    }

    /// Adds the credentials to a request.
    pub fn apply(&self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::None => request,
            Self::Basic { username, password } => {
                request.basic_auth(username, password.as_ref().map(Secret::expose))
            }
            Self::Bearer(token) => request.bearer_auth(token.expose()),
        }
    }
}
