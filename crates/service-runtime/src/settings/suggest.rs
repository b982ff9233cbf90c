//! "Did you mean …": the nearest known name, or the list of known ones.

/// Remedy for `given` among the keys of one section.
pub(super) fn remedy<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(given, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The same where the known names are too many to list.
pub(super) fn remedy_from_many<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(given, &known) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "remove it, or see the configuration reference for the names".to_owned(),
    }
}

/// The known name with the fewest edits, when they are at most a third of the given name's length.
fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let bound = (given.chars().count() / 3).max(1);
    let (distance, name) = known.iter().map(|name| (edit_distance(given, name), *name)).min()?;
    (distance <= bound).then_some(name)
}

/// Levenshtein distance in characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_insertions_deletions_and_substitutions() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("abc", ""), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        assert_eq!(remedy("brokres", ["brokers", "client_id"].into_iter()), "did you mean `brokers`?");
        assert_eq!(remedy("zzz", ["brokers", "client_id"].into_iter()), "known here: brokers, client_id");
    }
}
