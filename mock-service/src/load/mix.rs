//! Which requests are sent: the routes, their weights, and the paths drawn for them.

use std::fmt;
use std::str::FromStr;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde::Serialize;

/// Ids no menu has. Apart from plain ones they are what hostile clients send, percent-encoded: quotes, a line feed,
/// markup, another script, an escape sequence. Everything behind the service must carry them unharmed.
const UNKNOWN_IDS: [&str; 8] = [
    "6",
    "999",
    "pizza",
    "1%27%20OR%20%271%27%3D%271",
    "a%22quoted%22",
    "line%0Abreak",
    "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "%F0%9F%8D%95%E5%AF%BF%E5%8F%B8",
];

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// The whole menu.
    List,
    /// One dish that exists.
    Item,
    /// One dish that does not exist.
    Unknown,
    /// A dish without id.
    Empty,
    /// The health probe.
    Health,
    /// A path the service does not have.
    Missing,
}

impl Route {
    const ALL: [Route; 6] =
        [Route::List, Route::Item, Route::Unknown, Route::Empty, Route::Health, Route::Missing];

    /// The route's name in the mix, the report and the metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Route::List => "list",
            Route::Item => "item",
            Route::Unknown => "unknown",
            Route::Empty => "empty",
            Route::Health => "health",
            Route::Missing => "missing",
        }
    }

    /// The low-cardinality form of the path.
    pub(crate) fn template(self) -> &'static str {
        match self {
            Route::List => "/api/menu",
            Route::Item | Route::Unknown => "/api/menu/{id}",
            Route::Empty => "/api/menu/",
            Route::Health => "/health",
            Route::Missing => "/api/orders",
        }
    }

    fn path(self, draws: &mut StdRng) -> String {
        match self {
            Route::Item => format!("/api/menu/{}", draws.random_range(1..=5)),
            Route::Unknown => format!("/api/menu/{}", UNKNOWN_IDS[draws.random_range(0..UNKNOWN_IDS.len())]),
            Route::List | Route::Empty | Route::Health | Route::Missing => self.template().to_owned(),
        }
    }
}

/// Weights of the routes, written `list=60,item=25`; a route left out has weight 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    weights: [u32; Route::ALL.len()],
}

/// A mix that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    /// A part is not `route=weight` with a whole weight of at most 1,000,000.
    #[error("`{0}` is not `route=weight`, as in `list=60`")]
    Part(String),
    /// The route is not one of the known ones.
    #[error("no route `{0}`; there are list, item, unknown, empty, health and missing")]
    Route(String),
    /// Every weight is 0.
    #[error("at least one weight must be above 0")]
    Nothing,
}

impl Mix {
    /// Draws a request: its route and its path, percent-encoded.
    pub(crate) fn draw(&self, draws: &mut StdRng) -> (Route, String) {
        let mut left = draws.random_range(0..self.weights.iter().sum());
        for (route, weight) in Route::ALL.into_iter().zip(self.weights) {
            if left < weight {
                return (route, route.path(draws));
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        const MAX_WEIGHT: u32 = 1_000_000;
        let mut weights = [0; Route::ALL.len()];
        for part in text.split(',') {
            let wrong = || MixError::Part(part.to_owned());
            let (name, weight) = part.split_once('=').ok_or_else(wrong)?;
            let route = Route::ALL.iter().position(|route| route.as_str() == name.trim());
            let weight =
                weight.trim().parse().ok().filter(|weight| *weight <= MAX_WEIGHT).ok_or_else(wrong)?;
            weights[route.ok_or_else(|| MixError::Route(name.to_owned()))?] = weight;
        }
        if weights.iter().all(|weight| *weight == 0) {
            return Err(MixError::Nothing);
        }
        Ok(Mix { weights })
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drawn = Route::ALL.into_iter().zip(self.weights).filter(|(_, weight)| *weight > 0);
        for (position, (route, weight)) in drawn.enumerate() {
            let comma = if position > 0 { "," } else { "" };
            write!(f, "{comma}{}={weight}", route.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_requests() {
        let mix: Mix = "list=1,item=1,unknown=1".parse().unwrap();
        let draw = |seed| {
            let mut draws = StdRng::seed_from_u64(seed);
            (0..100).map(|_| mix.draw(&mut draws)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn requests_are_drawn_by_weight() {
        let mix: Mix = "list=60, item=25,health=15,empty=0".parse().unwrap();
        let mut draws = StdRng::seed_from_u64(1);
        let mut drawn: BTreeMap<Route, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            *drawn.entry(mix.draw(&mut draws).0).or_default() += 1;
        }
        assert_eq!(drawn.keys().copied().collect::<Vec<_>>(), [Route::List, Route::Item, Route::Health]);
        for (route, expected) in [(Route::List, 6000), (Route::Item, 2500), (Route::Health, 1500)] {
            assert!(drawn[&route].abs_diff(expected) < 200, "{route:?}: {}", drawn[&route]);
        }
        assert_eq!(mix.to_string(), "list=60,item=25,health=15");
    }

    #[test]
    fn a_mix_that_sends_nothing_or_unknown_routes_is_refused() {
        for text in
            ["", "list", "list=x", "list=-1", "lists=1", "list=0,item=0", "list=4000000000,item=4000000000"]
        {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
    }
}
