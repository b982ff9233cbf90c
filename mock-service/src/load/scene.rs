//! Named traffic: what customers ask for in a scene that dashboards and alerts are tested with.

use clap::ValueEnum;

use super::mix::Mix;

/// A named mix. Failures are the server's own, so a scene that has some says in its help how the server has to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scene {
    /// The default mix; with `serve --failure-rate 0`
    Normal,
    /// The same requests; with `serve --failure-rate 0.1`
    TenPercentFailures,
    /// The same requests; with `serve --failure-rate 1`
    TotalOutage,
    /// Four of five views are of the item that cannot be ordered; with `serve --failure-rate 0`
    UnavailableItemSpike,
    /// Every third request is for an id out of markup, quotes, SQL, templates, ten kilobytes, or of nobody; with `serve
    /// --failure-rate 0`
    HostileIds,
}

impl Scene {
    /// What is sent.
    pub(crate) fn mix(self) -> Mix {
        let usual = Mix::default();
        match self {
            Scene::Normal | Scene::TenPercentFailures | Scene::TotalOutage => usual,
            // Item 3 is the one that the menu has and nobody can order.
            Scene::UnavailableItemSpike => usual.of_items([1, 1, 16, 1, 1]),
            Scene::HostileIds => usual.of_hostile_ids(50),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;
    use crate::load::Route;

    fn paths(scene: Scene, of: Route) -> Vec<String> {
        let mut draws = StdRng::seed_from_u64(1);
        let mix = scene.mix();
        let drawn = (0..5000).map(|_| mix.draw(&mut draws));
        drawn.filter(|(route, _)| *route == of).map(|(_, path)| path).collect()
    }

    #[test]
    fn scenes_that_differ_by_failures_send_the_same() {
        let all = |scene| [Route::List, Route::Item, Route::Unknown].map(|route| paths(scene, route));
        assert_eq!(all(Scene::Normal), all(Scene::TenPercentFailures));
        assert_eq!(all(Scene::Normal), all(Scene::TotalOutage));
    }

    #[test]
    fn a_spike_is_of_the_item_that_cannot_be_ordered() {
        let share = |scene| {
            let items = paths(scene, Route::Item);
            items.iter().filter(|path| *path == "/api/menu/3").count() * 100 / items.len()
        };
        assert!((15..25).contains(&share(Scene::Normal)), "{}", share(Scene::Normal));
        assert!((75..85).contains(&share(Scene::UnavailableItemSpike)));
    }

    #[test]
    fn hostile_ids_are_many_and_one_is_long() {
        let ids: BTreeSet<_> = paths(Scene::HostileIds, Route::Unknown).into_iter().collect();
        assert!(ids.len() > 200, "{}", ids.len());
        assert!(ids.iter().any(|path| path.len() > 10_000));
        assert!(ids.iter().all(|path| path.is_ascii() && !path.contains([' ', '\n', '"', '?', '#'])));
        assert!(paths(Scene::Normal, Route::Unknown).iter().all(|path| path.len() < 100));
    }
}
