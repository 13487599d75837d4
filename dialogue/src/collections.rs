//! The hashed collections of the engine. In tests their order is the same in each run, so that a simulation can be
//! repeated.

#[cfg(test)]
use std::hash::{BuildHasherDefault, DefaultHasher};

/// The hasher's keys are random, against crafted keys.
#[cfg(not(test))]
type State = std::hash::RandomState;
#[cfg(test)]
type State = BuildHasherDefault<DefaultHasher>;

pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, State>;
pub(crate) type HashSet<T> = std::collections::HashSet<T, State>;
