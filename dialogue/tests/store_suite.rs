//! The kit for stores, over ours.
#![cfg(feature = "testing")]

use dialogue::store::Memory;

dialogue::testing::store_suite! {
    mod memory;
    place = Memory::new;
    open = async |place: &Memory| place.clone();
}

dialogue::testing::store_suite! {
    mod fresh_memory;
    open = async || Memory::new();
}
