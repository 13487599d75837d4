//! Opening a directory: a store, something else, and an interrupted creation.

use std::fs;

use futures_util::FutureExt;

use super::*;

fn refusal(scratch: &Scratch) -> String {
    Disk::open(&scratch.0).expect_err("refused").to_string()
}

#[tokio::test]
async fn events_and_records_survive_a_restart() {
    let scratch = Scratch::new();
    let events: Vec<_> = (1..=3).map(event).collect();
    let disk = scratch.open();
    disk.append(vec![append("chat", events.clone())]).await.expect("appended");
    disk.put(vec![("a/1".into(), Some("one".into()))]).await.expect("put");
    drop(disk);

    let disk = scratch.open();
    let head = disk.head("chat").await.expect("read").expect("a log");
    assert_eq!((&*head.epoch, head.first, &head.last), ("epoch", 1, &events[2]));
    assert_eq!(all(&disk, "chat").await, events);
    assert_eq!(disk.get("a/1").await.expect("got").as_deref(), Some(&b"one"[..]));
    append_one(&disk, "chat", event(4)).await.expect("appended");
}

#[test]
fn a_second_process_learns_which_one_has_the_lock() {
    let scratch = Scratch::new();
    let first = scratch.open();
    assert!(refusal(&scratch).contains("this very process has it open"), "{}", refusal(&scratch));
    fs::write(scratch.0.join("lock"), "1234").expect("written");
    assert!(refusal(&scratch).contains("process 1234 has it open"), "{}", refusal(&scratch));
    drop(first);
    scratch.open();
}

#[test]
fn a_directory_with_other_files_is_left_alone() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).expect("made");
    fs::write(scratch.0.join("thesis.tex"), "").expect("written");
    assert!(refusal(&scratch).contains("it holds `thesis.tex`, and no store"), "{}", refusal(&scratch));
    assert_eq!(fs::read_dir(&scratch.0).expect("read").count(), 1);
}

#[test]
fn another_format_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.open());
    fs::write(scratch.0.join("format"), "dialogue store, format 2\n").expect("written");
    assert!(refusal(&scratch).contains("it is of format 2"), "{}", refusal(&scratch));
    fs::write(scratch.0.join("format"), "JPEG").expect("written");
    assert!(refusal(&scratch).contains("its file `format` is not a store's"), "{}", refusal(&scratch));
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    let scratch = Scratch::new();
    fs::write(&scratch.0, "").expect("written");
    assert!(refusal(&scratch).contains("it is no directory"), "{}", refusal(&scratch));
    fs::remove_file(&scratch.0).expect("removed");
}

/// Runs the attempt on a thread with another user id, since root may write everywhere. Only Linux has user ids per
/// thread.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_cant_be_written_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).expect("made");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o555)).expect("set");
    let refused = std::thread::scope(|scope| {
        let attempt = scope.spawn(|| {
            if rustix::process::getuid().is_root() {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).expect("another user");
            }
            refusal(&scratch)
        });
        attempt.join().expect("refused")
    });
    assert!(refused.contains("must be able to write there"), "{refused}");
}

#[tokio::test]
async fn an_interrupted_creation_is_completed() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.0.join("engine/keyspaces")).expect("made");
    fs::write(scratch.0.join("engine/0.jnl"), "").expect("written");
    append_one(&scratch.open(), "chat", event(1)).await.expect("appended");

    fs::remove_file(scratch.0.join("format")).expect("removed");
    assert_eq!(all(&scratch.open(), "chat").await.len(), 1);
    assert!(scratch.0.join("format").exists());
}

#[tokio::test]
async fn a_cancelled_call_has_no_effect() {
    let scratch = Scratch::new();
    let disk = scratch.open();
    let held = disk.shared.state.write();
    assert!(
        append_one(&disk, "chat", event(1)).now_or_never().is_none(),
        "the append didn't wait for the lock"
    );
    drop(held);
    assert_eq!(disk.head("chat").await.expect("read"), None);
}
