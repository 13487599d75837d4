//! Listening to channels, wherever in a deployment they are.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{
    Redis, Route,
    ear::{Ear, Sink},
    place::Place,
    slot::slot,
};

/// Listens to channels until it is dropped.
///
/// There is one connection to each server that has any of them. Whoever needs to know that nothing was missed looks for it
/// whenever a channel is said to be listened to.
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    /// Moves channels to where their slots are.
    moves: Option<AbortHandle>,
}

struct Shared {
    redis: Redis,
    sink: Sink,
    wanted: Mutex<HashSet<Arc<str>>>,
    /// By the text of the place of their server.
    ears: Mutex<HashMap<String, Ear>>,
}

impl Subscriber {
    pub(crate) fn new(redis: Redis, sink: Sink) -> Self {
        let shared =
            Arc::new(Shared { redis: redis.clone(), sink, wanted: Mutex::default(), ears: Mutex::default() });
        let moves = match &redis.shared.route {
            Route::Alone(_) => None,
            Route::Cluster(cluster) => {
                let (mut changes, shared) = (cluster.changes(), Arc::downgrade(&shared));
                let moving = async move {
                    while changes.changed().await.is_ok() {
                        let Some(shared) = shared.upgrade() else { return };
                        shared.move_all();
                    }
                };
                Some(tokio::spawn(moving).abort_handle())
            }
        };
        Subscriber { shared, moves }
    }

    pub(crate) fn listen(&self, channel: Arc<str>) {
        self.shared.wanted.lock().insert(Arc::clone(&channel));
        self.shared.order(channel, true);
    }

    pub(crate) fn leave(&self, channel: &Arc<str>) {
        self.shared.wanted.lock().remove(channel);
        self.shared.order(Arc::clone(channel), false);
    }

    /// What is wrong with listening.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.shared.ears.lock().values().find_map(|ear| ear.condition().trouble())
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        if let Some(moves) = &self.moves {
            moves.abort();
        }
    }
}

impl Shared {
    fn order(self: &Arc<Self>, channel: Arc<str>, listen: bool) {
        // While nobody serves its slot; it gets its place when somebody does.
        let Some(place) = self.place_of(&channel) else { return };
        let mut ears = self.ears.lock();
        ears.entry(place.to_string()).or_insert_with(|| self.ear(place)).order(channel, listen);
    }

    /// Listens to every channel where its slot is now.
    fn move_all(self: &Arc<Self>) {
        let wanted: Vec<_> = self.wanted.lock().iter().cloned().collect();
        let places: HashMap<_, _> = wanted
            .iter()
            .filter_map(|channel| self.place_of(channel))
            .map(|place| (place.to_string(), place))
            .collect();
        let mut ears = self.ears.lock();
        ears.retain(|place, _| places.contains_key(place));
        for (text, place) in places {
            ears.entry(text).or_insert_with(|| self.ear(place)).refresh();
        }
    }

    fn ear(self: &Arc<Self>, place: Place) -> Ear {
        let dialer = match &self.redis.shared.route {
            Route::Alone(link) => Arc::clone(link.dialer()),
            Route::Cluster(cluster) => Arc::clone(cluster.dialer()),
        };
        let (wants, text) = (Arc::downgrade(self), place.to_string());
        let wanted = move || wants.upgrade().map_or_else(Vec::new, |shared| shared.wanted_at(&text));
        let suspects = Arc::downgrade(&self.redis.shared);
        let elsewhere = move || {
            if let Some(redis) = suspects.upgrade()
                && let Route::Cluster(cluster) = &redis.route
            {
                cluster.suspect();
            }
        };
        Ear::begin(place, dialer, Box::new(wanted), Arc::clone(&self.sink), elsewhere)
    }

    fn wanted_at(&self, place: &str) -> Vec<Arc<str>> {
        let wanted = self.wanted.lock();
        let is_there =
            |channel: &Arc<str>| self.place_of(channel).is_some_and(|other| other.to_string() == place);
        wanted.iter().filter(|channel| is_there(channel)).cloned().collect()
    }

    /// The server that a channel is at, if any is known.
    fn place_of(&self, channel: &str) -> Option<Place> {
        match &self.redis.shared.route {
            Route::Alone(link) => Some(link.place().clone()),
            Route::Cluster(cluster) => cluster.primary(slot(channel.as_bytes())).map(Place::Node),
        }
    }
}
