//! Which requests are sent: the routes, their weights, and the paths drawn for them.

use std::borrow::Cow;
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

/// What people send who try what a service takes: an end of a string and a statement, templates, markup, quotes of all kinds, a
/// backslash, a way up, line breaks, scripts from right to left, and what a regular expression reads.
const HOSTILE_IDS: [&str; 10] = [
    "%27%29%20OR%201%3D1%20--",
    "%22%7D%29%20or%20vector(1)%20%23",
    "%7B%7Bx%7D%7D",
    "%24%7B__user.login%7D%24__timeFilter(x)",
    "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E",
    "%5C%27%60%22",
    "..%2F..%2Fetc%2Fpasswd",
    "a%0D%0Ab%00c",
    "%D9%82%D8%A7%D8%A6%D9%85%D8%A9%E2%80%AE%E8%8F%9C",
    ".%2A(%5B%5E%5D%2B)%24",
];

/// Length of the longest hostile id, in bytes.
const LONG_ID: usize = 10 * 1024;

/// Which ids are asked for that no menu has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ids {
    /// Few, most of them plain.
    Usual,
    /// Hostile ones, a long one, and as many that are asked for once.
    Hostile,
}

impl Ids {
    /// Draws an id, percent-encoded.
    fn draw(self, draws: &mut StdRng) -> Cow<'static, str> {
        match self {
            Ids::Usual => UNKNOWN_IDS[draws.random_range(0..UNKNOWN_IDS.len())].into(),
            Ids::Hostile => match draws.random_range(0..2 * HOSTILE_IDS.len()) {
                0 => "x".repeat(LONG_ID).into(),
                number if number <= HOSTILE_IDS.len() => HOSTILE_IDS[number - 1].into(),
                _ => format!("bot-{:08x}", draws.random::<u32>()).into(),
            },
        }
    }
}

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
}

/// Weights of the routes, written `list=60,item=25`; a route left out has weight 0. Of items and of ids that no menu has a scene
/// draws others than usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mix {
    weights: [u32; Route::ALL.len()],
    /// By id, from 1 on.
    items: [u32; 5],
    ids: Ids,
}

impl Default for Mix {
    /// What an ordinary hour is like.
    fn default() -> Self {
        Mix { weights: [60, 25, 8, 1, 5, 1], items: [1; 5], ids: Ids::Usual }
    }
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
                return (route, self.path(route, draws));
            }
            left -= weight;
        }
        unreachable!("the draw is below the sum of the weights")
    }

    /// The same with other weights of the items, by id from 1 on.
    pub(super) fn of_items(self, items: [u32; 5]) -> Self {
        Mix { items, ..self }
    }

    /// The same with another weight of ids that no menu has, and hostile ones.
    pub(super) fn of_hostile_ids(mut self, weight: u32) -> Self {
        self.weights[Route::Unknown as usize] = weight;
        Mix { ids: Ids::Hostile, ..self }
    }

    fn path(&self, route: Route, draws: &mut StdRng) -> String {
        match route {
            Route::Item => {
                let mut left = draws.random_range(0..self.items.iter().sum());
                let drawn = self.items.iter().position(|weight| {
                    let is_it = left < *weight;
                    left = left.saturating_sub(*weight);
                    is_it
                });
                format!("/api/menu/{}", drawn.expect("the draw is below the sum of the weights") + 1)
            }
            Route::Unknown => format!("/api/menu/{}", self.ids.draw(draws)),
            Route::List | Route::Empty | Route::Health | Route::Missing => route.template().to_owned(),
        }
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
        Ok(Mix { weights, ..Mix::default() })
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
