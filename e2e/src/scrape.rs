//! Reads counters from a program's `/metrics` page.

use anyhow::{Context, Result};

/// One reading of a metrics page in Prometheus text format.
#[derive(Debug, Clone, Default)]
pub struct Page(String);

impl Page {
    /// Reads the page of the admin server at `admin_url`.
    ///
    /// # Errors
    /// The server does not answer.
    pub async fn read(client: &reqwest::Client, admin_url: &str) -> Result<Self> {
        let reply = client.get(format!("{admin_url}/metrics")).send().await.context("ask for metrics")?;
        let reply = reply.error_for_status().context("ask for metrics")?;
        Ok(Self(reply.text().await.context("read the metrics page")?))
    }

    /// Every metric that has a sample, by the name that stands on the page, with its type.
    pub fn types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
    }

    /// The sum of `metric` over all series that carry every one of `labels`; 0 when there is none.
    #[must_use]
    pub fn sum(&self, metric: &str, labels: &[(&str, &str)]) -> f64 {
        // Not `sum`, whose value for nothing is -0.
        self.0.lines().filter_map(|line| value_of(line, metric, labels)).fold(0.0, |sum, value| sum + value)
    }

    /// The largest of the same; `None` when there is none.
    #[must_use]
    pub fn max(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.0.lines().filter_map(|line| value_of(line, metric, labels)).reduce(f64::max)
    }
}

/// The value of a sample line when name and labels fit. Our label values hold no quotes and no braces.
fn value_of(line: &str, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(metric)?;
    let (own, value) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?,
        None => ("", rest),
    };
    if !value.starts_with(' ') {
        return None;
    }
    let fits =
        labels.iter().all(|(name, value)| own.split(',').any(|pair| pair == format!("{name}=\"{value}\"")));
    if fits { value.split_whitespace().next()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_series_whose_labels_fit_and_no_other_metric() {
        let page = Page(
            "# HELP items help\nitems_total{signal=\"logs\",topic=\"a\"} 2\nitems_total{signal=\"logs\",topic=\"b\"} 3\n\
             items_total{signal=\"traces\"} 5\nitems_total_seconds 7\nup 1\n"
                .to_owned(),
        );
        assert!((page.sum("items_total", &[("signal", "logs")]) - 5.0).abs() < f64::EPSILON);
        assert!((page.sum("items_total", &[]) - 10.0).abs() < f64::EPSILON);
        assert!((page.sum("up", &[]) - 1.0).abs() < f64::EPSILON);
        assert!(page.sum("items_total", &[("signal", "metrics")]).abs() < f64::EPSILON);
    }
}
