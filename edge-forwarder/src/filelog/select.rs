//! Which containers are read, by namespace, container name, and the labels of their pods.

use std::collections::BTreeMap;

use glob::Pattern;

use super::container::Container;

/// Rules over what is known of a container. Values are patterns with `*` and `?`.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    namespaces: Choice,
    containers: Choice,
    include_labels: Vec<(String, Pattern)>,
    exclude_labels: Vec<(String, Pattern)>,
}

/// The same as it is configured, unchecked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectionConfig {
    /// Namespaces that are read; none means all.
    pub include_namespaces: Vec<String>,
    /// Namespaces that are not read.
    pub exclude_namespaces: Vec<String>,
    /// Containers that are read; none means all.
    pub include_containers: Vec<String>,
    /// Containers that are not read.
    pub exclude_containers: Vec<String>,
    /// Labels that a pod must have, all of them.
    pub include_labels: BTreeMap<String, String>,
    /// Labels of which a pod may have none.
    pub exclude_labels: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Default)]
struct Choice {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

impl Selection {
    /// Compiles the rules.
    ///
    /// # Errors
    /// A value that is no pattern.
    pub(super) fn new(config: &SelectionConfig) -> Result<Selection, String> {
        Ok(Selection {
            namespaces: Choice::new(&config.include_namespaces, &config.exclude_namespaces)?,
            containers: Choice::new(&config.include_containers, &config.exclude_containers)?,
            include_labels: label_patterns(&config.include_labels)?,
            exclude_labels: label_patterns(&config.exclude_labels)?,
        })
    }

    /// Whether the rules over names let a container pass.
    pub(super) fn selects(&self, container: &Container<'_>) -> bool {
        self.namespaces.has(container.namespace) && self.containers.has(container.name)
    }

    /// Whether the rules over labels let a pod pass.
    pub(super) fn selects_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(name, pattern): &(String, Pattern)| {
            labels.get(name).is_some_and(|value| pattern.matches(value))
        };
        self.include_labels.iter().all(has) && !self.exclude_labels.iter().any(has)
    }
}

impl SelectionConfig {
    /// Whether there are rules over labels.
    pub(crate) fn needs_labels(&self) -> bool {
        !(self.include_labels.is_empty() && self.exclude_labels.is_empty())
    }

    /// Why it makes no sense.
    pub(crate) fn check(&self) -> Result<(), String> {
        Selection::new(self).map(drop)
    }
}

impl Choice {
    fn new(include: &[String], exclude: &[String]) -> Result<Choice, String> {
        let patterns =
            |texts: &[String]| texts.iter().map(|text| pattern(text)).collect::<Result<Vec<_>, _>>();
        Ok(Choice { include: patterns(include)?, exclude: patterns(exclude)? })
    }

    fn has(&self, name: &str) -> bool {
        let matches = |pattern: &Pattern| pattern.matches(name);
        let is_included = self.include.is_empty() || self.include.iter().any(matches);
        is_included && !self.exclude.iter().any(matches)
    }
}

/// A pattern of names.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    Pattern::new(text).map_err(|error| format!("`{text}` is no pattern: {error}"))
}

fn label_patterns(labels: &BTreeMap<String, String>) -> Result<Vec<(String, Pattern)>, String> {
    labels.iter().map(|(name, value)| Ok((name.clone(), pattern(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(config: &SelectionConfig) -> Selection {
        Selection::new(config).unwrap()
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn container<'a>(namespace: &'a str, name: &'a str) -> Container<'a> {
        Container { namespace, pod: "p", uid: "u", name, restarts: 0 }
    }

    #[test]
    fn names_are_included_unless_they_are_excluded() {
        let rules = selection(&SelectionConfig {
            include_namespaces: texts(&["prod*", "staging"]),
            exclude_namespaces: texts(&["production-tools"]),
            exclude_containers: texts(&["istio-*"]),
            ..SelectionConfig::default()
        });
        assert!(rules.selects(&container("production", "app")));
        assert!(rules.selects(&container("staging", "app")));
        assert!(!rules.selects(&container("production-tools", "app")));
        assert!(!rules.selects(&container("kube-system", "app")));
        assert!(!rules.selects(&container("production", "istio-proxy")));
        assert!(Selection::default().selects(&container("any", "any")));
    }

    #[test]
    fn a_pod_has_all_included_labels_and_no_excluded_one() {
        let rules = selection(&SelectionConfig {
            include_labels: labels(&[("team", "*"), ("app", "menu-*")]),
            exclude_labels: labels(&[("logs", "off")]),
            ..SelectionConfig::default()
        });
        assert!(rules.selects_labels(&labels(&[("team", "a"), ("app", "menu-api"), ("logs", "on")])));
        assert!(!rules.selects_labels(&labels(&[("app", "menu-api")])));
        assert!(!rules.selects_labels(&labels(&[("team", "a"), ("app", "cart")])));
        assert!(!rules.selects_labels(&labels(&[("team", "a"), ("app", "menu-api"), ("logs", "off")])));
        assert!(Selection::default().selects_labels(&BTreeMap::new()));
    }

    #[test]
    fn what_is_no_pattern_is_named() {
        let config = SelectionConfig { exclude_containers: texts(&["a[b"]), ..SelectionConfig::default() };
        assert!(config.check().unwrap_err().contains("`a[b`"));
    }
}
