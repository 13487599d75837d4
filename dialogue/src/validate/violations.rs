use std::fmt;

use super::Validate;
use crate::wire::Detail;

/// The rules that a value breaks, each with the place of what breaks it.
///
/// Paths are JSON Pointers (RFC 6901) into the value that is being validated: `""` is the value itself, `/name` its
/// field `name`, `/items/3` the fourth item of its list. [`Violations::at`] puts what is found inside a part of the
/// value below that part's path. An empty collection holds no memory.
///
/// At most [`Violations::MAX`] are kept, in the order in which they are added, and of these as many as have paths and
/// messages of 8 KiB together, so that the answer to a long list of invalid items is short; the first is always kept.
/// Those beyond are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations {
    details: Vec<Detail>,
    /// Set once a violation was dropped; further ones are dropped too.
    full: bool,
}

const MAX_BYTES: usize = 8 << 10;

impl Violations {
    /// The number of violations that are kept at most.
    pub const MAX: usize = 32;

    /// Validates `value`.
    #[inline]
    pub fn of<T: Validate + ?Sized>(value: &T) -> Self {
        let mut found = Violations::default();
        value.validate(&mut found);
        found
    }

    /// Adds a violation at `path`, a JSON Pointer into the value (a name without `/` is taken for the field of that
    /// name), or `""` for the value as a whole. The message is for people.
    #[cold]
    pub fn add(&mut self, path: &str, message: impl fmt::Display) {
        if self.is_full() {
            self.full = true;
            return;
        }
        let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
        self.details.push(Detail { path: format!("{slash}{path}"), message: message.to_string() });
        self.fit();
    }

    /// Collects what `inner` adds below the part of the value that `segment` names: a field's name on the wire, a map's
    /// key or an index. `inner` isn't called when the collection is full.
    ///
    /// ```
    /// use dialogue::validate::Violations;
    ///
    /// let mut found = Violations::default();
    /// found.at("tags", |found| found.at(3, |found| found.add("", "is empty")));
    /// assert_eq!(found.into_result().unwrap_err()[0].path, "/tags/3");
    /// ```
    #[inline]
    pub fn at(&mut self, segment: impl fmt::Display, inner: impl FnOnce(&mut Self)) {
        let before = self.details.len();
        if self.is_full() {
            return;
        }
        inner(self);
        if self.details.len() > before {
            self.prefix(before, &pointer(&segment));
        }
    }

    /// As [`Violations::at`], with a path that is a JSON Pointer already.
    #[inline]
    pub(crate) fn below(&mut self, path: &str, inner: impl FnOnce(&mut Self)) {
        let before = self.details.len();
        inner(self);
        if self.details.len() > before {
            self.prefix(before, path);
        }
    }

    /// Adds all of `other`, which was found in the same value.
    pub(super) fn append(&mut self, other: Self) {
        for Detail { path, message } in other.details {
            self.add(&path, message);
        }
    }

    /// Paths are built from the inside out, once something was found: a valid value pays nothing for them.
    #[cold]
    fn prefix(&mut self, from: usize, path: &str) {
        for detail in self.details.iter_mut().skip(from) {
            detail.path.insert_str(0, path);
        }
        self.fit();
    }

    /// Drops what exceeds the bound of bytes. Paths have keys of maps in them, which clients choose.
    fn fit(&mut self) {
        let mut bytes = 0;
        let fits = |detail: &Detail| {
            bytes += detail.path.len() + detail.message.len();
            bytes <= MAX_BYTES
        };
        let fitting = self.details.iter().map(fits).take_while(|fits| *fits).count().max(1);
        self.full |= fitting < self.details.len();
        self.details.truncate(fitting);
    }

    /// Returns the number of violations that are kept.
    pub fn len(&self) -> usize {
        self.details.len()
    }

    /// Returns whether no rule is broken.
    pub fn is_empty(&self) -> bool {
        self.details.is_empty()
    }

    /// Returns whether further violations would be dropped: a loop over many items may end.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full || self.details.len() >= Self::MAX
    }

    /// Returns `Ok` if no rule is broken.
    ///
    /// # Errors
    ///
    /// The violations, in the order in which they were added.
    #[inline]
    pub fn into_result(self) -> Result<(), Vec<Detail>> {
        if self.details.is_empty() { Ok(()) } else { Err(self.details) }
    }
}

/// `/segment`, with the two characters escaped that RFC 6901 names.
fn pointer(segment: &dyn fmt::Display) -> String {
    format!("/{}", segment.to_string().replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(found: Violations) -> Vec<String> {
        found.into_result().err().unwrap_or_default().into_iter().map(|detail| detail.path).collect()
    }

    #[test]
    fn paths_are_json_pointers() {
        let mut found = Violations::default();
        found.add("", "whole");
        found.add("name", "field");
        found.at("a/b~c", |found| {
            found.add("", "part");
            found.at(7, |found| found.add("/x", "deep"));
        });
        assert_eq!(paths(found), ["", "/name", "/a~1b~0c", "/a~1b~0c/7/x"]);
    }

    #[test]
    fn a_part_without_violations_leaves_no_trace() {
        let mut found = Violations::default();
        found.add("/a", "first");
        found.at("b", |_| {});
        assert_eq!(paths(found), ["/a"]);
    }

    #[test]
    fn the_first_ones_are_kept() {
        let mut found = Violations::default();
        for index in 0..10_000 {
            found.at(index, |found| found.add("", "bad"));
        }
        assert!(found.is_full());
        assert_eq!(found.len(), Violations::MAX);
        assert_eq!(paths(found)[31], "/31");
    }

    #[test]
    fn long_paths_and_messages_are_bounded_together() {
        let mut found = Violations::default();
        let key = "k".repeat(3_000);
        found.at(&key, |found| (0..5).for_each(|index| found.add(&format!("/{index}"), "bad")));
        assert!(found.is_full());
        assert_eq!(found.len(), 2);
        let mut found = Violations::default();
        found.add("", "m".repeat(MAX_BYTES + 1));
        found.add("", "second");
        assert_eq!(found.len(), 1, "the first is kept whatever its length");
    }

    proptest! {
        /// The path leads `serde_json` to the key.
        #[test]
        fn a_pointer_leads_to_its_key(key in ".*") {
            let mut found = Violations::default();
            found.at(&key, |found| found.add("", "bad"));
            let value = serde_json::json!({ &key: 1 });
            prop_assert_eq!(value.pointer(&paths(found)[0]), Some(&serde_json::json!(1)));
        }
    }
}
