//! The suite of stores, over the disk.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use dialogue_disk::{Disk, Durability};

/// A directory for one test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Directory(std::env::temp_dir().join(format!("dialogue-suite-{}-{number}", std::process::id())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left over is the system's to remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

dialogue_core::testing::store_suite! {
    mod synced;
    place = Directory::new;
    open = async |place: &Directory| Disk::open(&place.0).expect("opened");
}

dialogue_core::testing::store_suite! {
    mod written;
    place = Directory::new;
    open = async |place: &Directory| {
        Disk::open(&place.0).expect("opened").durability(Durability::Written)
    };
}
