//! The types that `nested` sees through: pointers, options, lists and the values of maps.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, VecDeque},
    rc::Rc,
    sync::Arc,
};

use serde::Serialize;
use serde_json::Value;

use super::{Validate, Violations};

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: Validate + ?Sized> Validate for $pointer {
            fn validate(&self, found: &mut Violations) {
                (**self).validate(found);
            }
        }
    )*};
}
pointers!(&T, Box<T>, Rc<T>, Arc<T>);

impl<T: Validate + ToOwned + ?Sized> Validate for Cow<'_, T> {
    fn validate(&self, found: &mut Violations) {
        (**self).validate(found);
    }
}

impl<T: Validate> Validate for Option<T> {
    fn validate(&self, found: &mut Violations) {
        if let Some(value) = self {
            value.validate(found);
        }
    }
}

impl<T: Validate> Validate for [T] {
    fn validate(&self, found: &mut Violations) {
        items(self, found);
    }
}

impl<T: Validate, const N: usize> Validate for [T; N] {
    fn validate(&self, found: &mut Violations) {
        items(self, found);
    }
}

impl<T: Validate> Validate for Vec<T> {
    fn validate(&self, found: &mut Violations) {
        items(self, found);
    }
}

impl<T: Validate> Validate for VecDeque<T> {
    fn validate(&self, found: &mut Violations) {
        items(self, found);
    }
}

fn items<'a, T: Validate + 'a>(items: impl IntoIterator<Item = &'a T>, found: &mut Violations) {
    for (index, item) in items.into_iter().enumerate() {
        if found.is_full() {
            return;
        }
        found.at(index, |found| item.validate(found));
    }
}

impl<K: Serialize, V: Validate> Validate for BTreeMap<K, V> {
    fn validate(&self, found: &mut Violations) {
        for (key, value) in self {
            if found.is_full() {
                return;
            }
            found.at(JsonKey(key), |found| value.validate(found));
        }
    }
}

impl<K: Serialize, V: Validate, S> Validate for HashMap<K, V, S> {
    fn validate(&self, found: &mut Violations) {
        if found.is_full() {
            return;
        }
        // By key, for an order that doesn't change from run to run. Each value is validated once: in maps of maps, the
        // second time would double the work with each level.
        let mut invalid = BTreeMap::new();
        for (key, value) in self {
            let inner = Violations::of(value);
            if inner.is_empty() {
                continue;
            }
            invalid.insert(JsonKey(key).to_string(), inner);
            if invalid.len() > Violations::MAX {
                invalid.pop_last();
            }
        }
        for (key, inner) in invalid {
            found.at(key, |found| found.append(inner));
        }
    }
}

/// A map's key as it is written in JSON.
struct JsonKey<'a, K>(&'a K);

impl<K: Serialize> std::fmt::Display for JsonKey<'_, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match serde_json::to_value(self.0) {
            Ok(Value::String(text)) => f.write_str(&text),
            Ok(other) => write!(f, "{other}"),
            Err(_) => f.write_str("?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    struct Even(u32);

    impl Validate for Even {
        fn validate(&self, found: &mut Violations) {
            if !self.0.is_multiple_of(2) {
                found.add("/n", "must be even");
            }
        }
    }

    fn paths(value: &impl Validate) -> Vec<String> {
        let details = Violations::of(value).into_result().err().unwrap_or_default();
        details.into_iter().map(|detail| detail.path).collect()
    }

    #[test]
    fn pointers_and_options_add_nothing_to_the_path() {
        assert_eq!(paths(&Box::new(Some(Arc::new(Even(1))))), ["/n"]);
        assert_eq!(paths(&None::<Even>), [""; 0]);
        assert_eq!(paths(&Some(Some(Even(2)))), [""; 0]);
    }

    #[test]
    fn lists_have_indices() {
        assert_eq!(paths(&vec![Even(1), Even(2), Even(3)]), ["/0/n", "/2/n"]);
        assert_eq!(paths(&[vec![Even(2)], vec![Even(2), Even(5)]]), ["/1/1/n"]);
        assert_eq!(paths(&VecDeque::from([Even(1)])), ["/0/n"]);
    }

    #[test]
    fn a_long_list_is_left_early() {
        let list: Vec<Even> = (0..10_000).map(|_| Even(1)).collect();
        let paths = paths(&list);
        assert_eq!(paths.len(), Violations::MAX);
        assert_eq!(paths[31], "/31/n");
    }

    #[test]
    fn a_value_in_maps_of_maps_is_validated_once() {
        #[derive(Default)]
        struct Counted(Cell<u32>);
        impl Validate for Counted {
            fn validate(&self, found: &mut Violations) {
                self.0.set(self.0.get() + 1);
                found.add("", "bad");
            }
        }
        let inner = HashMap::from([(3, Counted::default())]);
        let outer = HashMap::from([(1, HashMap::from([(2, inner)]))]);
        assert_eq!(paths(&outer), ["/1/2/3"]);
        assert_eq!(outer[&1][&2][&3].0.get(), 1);
    }

    #[test]
    fn maps_have_the_keys_of_the_wire_in_order() {
        #[derive(Serialize, Hash, PartialEq, Eq, PartialOrd, Ord)]
        #[serde(rename_all = "camelCase")]
        enum Side {
            RightHand,
            LeftHand,
        }
        let sides = [(Side::RightHand, Even(1)), (Side::LeftHand, Even(3))];
        assert_eq!(paths(&HashMap::from(sides)), ["/leftHand/n", "/rightHand/n"]);
        assert_eq!(paths(&BTreeMap::from([(7, Even(1)), (8, Even(2))])), ["/7/n"]);
        let many: HashMap<u32, Even> = (0..1_000).map(|key| (key, Even(1))).collect();
        assert_eq!(paths(&many)[..3], ["/0/n", "/1/n", "/10/n"]);
    }
}
