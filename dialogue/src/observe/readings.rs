//! What a server has measured so far, for sinks.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{Family, Measures};

/// A server's numbers, to be read at any time. Cheap to clone; it doesn't keep the server alive.
#[derive(Clone)]
pub struct Readings(Weak<Measures>);

/// All numbers of one family.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Measured {
    /// Which.
    pub family: &'static Family,
    /// One for each combination of labels that there can be, whether anything was counted or not. Empty where the server
    /// has no such part: no store, no push.
    pub series: Vec<Series>,
}

/// One number of a family.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Series {
    /// The values of the family's [labels](Family::labels), in their order. All are declared names, or words of this
    /// library: none comes from a client.
    pub labels: Vec<&'static str>,
    /// The number.
    pub value: Value,
}

/// What was measured, since the server was built.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// How often something happened.
    Count(u64),
    /// How much there is now.
    Level(f64),
    /// How long things took.
    Spread {
        /// All together, in seconds.
        sum: f64,
        /// For each bound in seconds, how many took that long at most and longer than the bound before; the last bound is
        /// infinite.
        buckets: Vec<(f64, u64)>,
    },
}

impl Readings {
    pub(crate) fn new(measures: &Arc<Measures>) -> Self {
        Readings(Arc::downgrade(measures))
    }

    /// All numbers, family by family, always in the same order; `None` once the server is gone. Takes some microseconds for
    /// each thousand of series, and a lock per connection for what waits for them.
    pub fn read(&self) -> Option<Vec<Measured>> {
        self.0.upgrade().map(|measures| measures.read())
    }
}

impl fmt::Debug for Readings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readings")
    }
}
