use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet, LinkedList, VecDeque},
    fmt,
    rc::Rc,
    sync::Arc,
};

use super::{At, Message, Violations, broken};

/// `length(min = …, max = …)`, or `length(equal = …)` with both the same.
#[inline]
pub fn length<T: HasLength>(
    found: &mut Violations,
    at: At,
    message: Message,
    value: &T,
    min: Option<usize>,
    max: Option<usize>,
) {
    if !value.is_within(min.unwrap_or(0), max.unwrap_or(usize::MAX)) {
        broken(found, at, message, &LengthBounds { min, max });
    }
}

/// A field that has a length.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` has no length",
    label = "has no length",
    note = "`length` counts the characters of a `String`, `&str` or `Cow<str>`, or the items of a list, set or map of the standard library, also in an `Option`, `Box`, `Rc` or `Arc`; for numbers write `range(min = …, max = …)`, for other types `custom(function = …)`"
)]
pub trait HasLength {
    /// Returns whether the length is one of `min..=max`; true if there is no value.
    fn is_within(&self, min: usize, max: usize) -> bool;
}

impl HasLength for str {
    #[inline]
    fn is_within(&self, min: usize, max: usize) -> bool {
        // A character has 1 to 4 bytes.
        let (fewest, most) = (self.len().div_ceil(4), self.len());
        if min <= fewest && most <= max {
            return true;
        }
        if most < min || max < fewest {
            return false;
        }
        let count = self.chars().count();
        min <= count && count <= max
    }
}

impl HasLength for String {
    #[inline]
    fn is_within(&self, min: usize, max: usize) -> bool {
        self.as_str().is_within(min, max)
    }
}

macro_rules! collections {
    ($([$($generics:tt)*] $collection:ty,)*) => {$(
        impl<$($generics)*> HasLength for $collection {
            #[inline]
            fn is_within(&self, min: usize, max: usize) -> bool {
                (min..=max).contains(&self.len())
            }
        }
    )*};
}
collections! {
    [T] [T],
    [T, const N: usize] [T; N],
    [T] Vec<T>,
    [T] VecDeque<T>,
    [T] LinkedList<T>,
    [T] BinaryHeap<T>,
    [T] BTreeSet<T>,
    [T, S] HashSet<T, S>,
    [K, V] BTreeMap<K, V>,
    [K, V, S] HashMap<K, V, S>,
}

impl<T: HasLength> HasLength for Option<T> {
    #[inline]
    fn is_within(&self, min: usize, max: usize) -> bool {
        self.as_ref().is_none_or(|value| value.is_within(min, max))
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: HasLength + ?Sized> HasLength for $pointer {
            #[inline]
            fn is_within(&self, min: usize, max: usize) -> bool {
                (**self).is_within(min, max)
            }
        }
    )*};
}
pointers!(&T, Box<T>, Rc<T>, Arc<T>);

impl<T: HasLength + ToOwned + ?Sized> HasLength for Cow<'_, T> {
    #[inline]
    fn is_within(&self, min: usize, max: usize) -> bool {
        (**self).is_within(min, max)
    }
}

struct LengthBounds {
    min: Option<usize>,
    max: Option<usize>,
}

impl fmt::Display for LengthBounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => write!(f, "length must be {min}"),
            (Some(min), Some(max)) => write!(f, "length must be between {min} and {max}"),
            (Some(min), None) => write!(f, "length must be at least {min}"),
            (_, Some(max)) => write!(f, "length must be at most {max}"),
            (None, None) => f.write_str("length is not valid"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn items_are_counted() {
        assert!(vec![1, 2].is_within(2, 2));
        assert!(![1, 2, 3].is_within(0, 2));
        assert!(!HashMap::<u8, u8>::new().is_within(1, 9));
        assert!(BTreeSet::from([1]).is_within(1, 9));
        assert!(!Arc::<[u8]>::from([1, 2]).is_within(3, 9));
    }

    #[test]
    fn nothing_is_of_any_length() {
        assert!(None::<String>.is_within(1, 2));
        assert!(!Some("abc").is_within(1, 2));
        assert!(!Some(Box::new(Cow::Borrowed(""))).is_within(1, 2));
    }

    #[test]
    fn messages_name_the_bounds() {
        let text = |min, max| LengthBounds { min, max }.to_string();
        assert_eq!(text(Some(1), Some(2000)), "length must be between 1 and 2000");
        assert_eq!(text(Some(1), None), "length must be at least 1");
        assert_eq!(text(None, Some(5)), "length must be at most 5");
        assert_eq!(text(Some(6), Some(6)), "length must be 6");
    }

    proptest! {
        #[test]
        fn characters_are_counted(text in "[aé日🏳\u{300}]{0,40}", min in 0_usize..45, more in 0_usize..45) {
            let count = text.chars().count();
            prop_assert_eq!(text.is_within(min, min + more), (min..=min + more).contains(&count));
            prop_assert!(text.is_within(0, usize::MAX));
        }
    }
}
