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

#[cfg(feature = "disk")]
dialogue::testing::store_suite! {
    mod disk;
    place = || tempfile::tempdir().expect("a directory for the test");
    open = async |place: &tempfile::TempDir| {
        dialogue::store::Disk::open(place.path().join("data")).expect("a store in a new directory")
    };
}
