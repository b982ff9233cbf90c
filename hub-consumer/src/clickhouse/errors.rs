//! What a refused insert means for the block: send it again, wait for an operator, or look for the record at fault.
//!
//! Only answers that prove the rows were not stored count as [`InsertError::Retryable`]; everything unknown is
//! [`InsertError::Ambiguous`], because a part may have been committed before the error. Both are sent again with the same token.
//! Blaming a record needs the opposite proof, a code that speaks of a value, because such a record leaves the line.

use super::client::QueryError;

/// An insert that the server has not confirmed.
#[derive(Debug, thiserror::Error)]
pub enum InsertError {
    /// Some or all rows may be stored.
    #[error("it is unknown whether the insert happened")]
    Ambiguous(#[source] QueryError),
    /// Nothing is stored, and the same insert can succeed later.
    #[error("the insert was refused for now")]
    Retryable(#[source] QueryError),
    /// Nothing is stored, and no insert into this table can succeed until somebody changes the table, the user or the settings.
    #[error("the insert was refused until an operator acts")]
    Schema(#[source] QueryError),
    /// Nothing of this block is stored, because of a value in it.
    #[error("the insert was refused because of a value in it")]
    Data(#[source] QueryError),
}

impl InsertError {
    /// Whether sending the same block again can help, without anybody acting.
    pub fn is_retryable(&self) -> bool {
        matches!(self, InsertError::Ambiguous(_) | InsertError::Retryable(_))
    }

    /// Whether the rows may be stored all the same.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, InsertError::Ambiguous(_))
    }

    /// Whether nothing will change until an operator acts.
    pub fn needs_operator(&self) -> bool {
        matches!(self, InsertError::Schema(_))
    }

    /// Whether a record of the block is to blame.
    pub fn blames_data(&self) -> bool {
        matches!(self, InsertError::Data(_))
    }

    /// ClickHouse's error code, when it is ClickHouse that answered.
    pub fn code(&self) -> Option<i32> {
        self.cause().code()
    }

    /// A word for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            InsertError::Ambiguous(_) => "ambiguous",
            InsertError::Retryable(_) => "retryable",
            InsertError::Schema(_) => "schema",
            InsertError::Data(_) => "data",
        }
    }

    fn cause(&self) -> &QueryError {
        match self {
            InsertError::Ambiguous(cause)
            | InsertError::Retryable(cause)
            | InsertError::Schema(cause)
            | InsertError::Data(cause) => cause,
        }
    }
}

impl From<QueryError> for InsertError {
    fn from(cause: QueryError) -> InsertError {
        let class = match &cause {
            QueryError::Connect(_) => InsertError::Retryable,
            QueryError::NoAnswer(_) => InsertError::Ambiguous,
            QueryError::Server { code, message } => class_of(*code, message),
            // A proxy's answers; 401 and 403 also come from servers that ask for credentials before they speak SQL.
            QueryError::Unexpected { status: 401 | 403 | 404, .. } => InsertError::Schema,
            QueryError::Unexpected { .. } => InsertError::Ambiguous,
        };
        class(cause)
    }
}

/// By the names in ClickHouse's `ErrorCodes`, as `errorCodeToName` prints them.
fn class_of(code: i32, message: &str) -> fn(QueryError) -> InsertError {
    match code {
        // TOO_MANY_PARTS is two errors. Merges that lag behind pass; too many days in one block would not.
        252 if message.contains("Too many partitions") => InsertError::Data,
        252 => InsertError::Retryable,
        // Refused at the door: too many queries, no connection free, quotas, read-only tables, overload.
        201 | 202 | 203 | 242 | 290 | 364 | 700 | 745 => InsertError::Retryable,
        // A column or table that is not there, or of another type.
        10 | 16 | 20 | 44 | 47 | 50 | 53 | 60 | 81 | 342 => InsertError::Schema,
        // The query, its format or its settings are not understood; the bytes arrived whole, so sending them again is no cure.
        27 | 62 | 73 | 115 | 117 => InsertError::Schema,
        // Credentials, privileges, read-only users.
        164 | 192 | 193 | 194 | 492 | 497 | 516 => InsertError::Schema,
        // A value the table or one of its views does not take.
        6 | 26 | 38 | 41 | 69 | 70 | 72 | 128 | 131 | 153 | 321 | 349 | 395 | 469 | 691 => InsertError::Data,
        // Timeouts (159, 160), memory (173, 241), network (209, 210), Keeper (225, 999), quorum (285, 286), unknown status (319),
        // damaged transfers (23, 33, 246, 271), cancelled (236, 394), and all that is not known yet.
        _ => InsertError::Ambiguous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: i32, message: &str, reason: &str) {
        let error = InsertError::from(QueryError::Server { code, message: message.to_owned() });
        assert_eq!(error.reason(), reason, "code {code}: {message}");
        assert_eq!(error.code(), Some(code));
    }

    #[test]
    fn too_many_parts_pass_and_too_many_partitions_do_not() {
        check(252, "Code: 252. DB::Exception: Too many parts (3000) in table", "retryable");
        check(
            252,
            "Code: 252. DB::Exception: Too many partitions for single INSERT block (more than 100)",
            "data",
        );
    }

    #[test]
    fn only_what_was_refused_at_the_door_is_certainly_not_stored() {
        for code in [201, 202, 203, 242, 745] {
            check(code, "", "retryable");
        }
        for code in [33, 159, 160, 209, 210, 225, 236, 241, 271, 285, 286, 319, 394, 999, 1002, 424_242] {
            check(code, "", "ambiguous");
        }
    }

    #[test]
    fn a_changed_table_or_user_waits_for_an_operator() {
        for code in [10, 16, 20, 27, 53, 60, 62, 81, 115, 117, 164, 192, 193, 497, 516] {
            check(code, "", "schema");
        }
    }

    #[test]
    fn a_record_is_blamed_only_for_a_value() {
        for code in [6, 41, 69, 72, 131, 321, 395, 469] {
            check(code, "", "data");
        }
    }

    #[test]
    fn an_answer_that_is_not_clickhouses_says_nothing_about_the_rows() {
        let answer = |status| InsertError::from(QueryError::Unexpected { status, message: String::new() });
        assert!(answer(502).is_ambiguous());
        assert!(answer(504).is_ambiguous());
        assert!(answer(403).needs_operator());
    }
}
