//! The text of events that filters read, such as a content filter.

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
};

/// A value whose text a filter may read and change: an event with marked fields, and the types that its fields consist
/// of.
///
/// [`#[dialogue::event]`](macro@crate::event) implements it if a field is marked: `#[filter]` for text that is read,
/// `#[filter(skip)]` for text that isn't. An event that has only numbers and booleans needs no mark.
///
/// ```
/// use dialogue::event::Filtered;
///
/// #[dialogue::event]
/// pub struct Post {
///     #[filter]
///     pub title: String,
///     #[filter]
///     pub tags: Vec<String>,
///     pub url: String,
/// }
///
/// let mut post = Post { title: "a".into(), tags: vec!["b".into()], url: "c".into() };
/// post.each_text(&mut |text| text.push('!'));
/// assert_eq!((post.title.as_str(), post.tags[0].as_str(), post.url.as_str()), ("a!", "b!", "c"));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` doesn't say which text of it a filter is to read",
    label = "no field of `{Self}` is marked",
    note = "put `#[filter]` on the fields of `{Self}` whose text is to be read, or `#[filter(skip)]` on one if none is",
    note = "a field that is marked is a `String`, an event that marks its own, or an `Option`, `Vec`, `Box` or map of them"
)]
pub trait Filtered {
    /// Calls `look` with each marked text, which it may change.
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String));
}

impl Filtered for String {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        look(self);
    }
}

impl<T: Filtered> Filtered for Option<T> {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        self.iter_mut().for_each(|some| some.each_text(look));
    }
}

impl<T: Filtered> Filtered for Vec<T> {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        self.iter_mut().for_each(|one| one.each_text(look));
    }
}

impl<T: Filtered + ?Sized> Filtered for Box<T> {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        (**self).each_text(look);
    }
}

impl<K, T: Filtered> Filtered for BTreeMap<K, T> {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        self.values_mut().for_each(|value| value.each_text(look));
    }
}

impl<K, T: Filtered, S: BuildHasher> Filtered for HashMap<K, T, S> {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        self.values_mut().for_each(|value| value.each_text(look));
    }
}
