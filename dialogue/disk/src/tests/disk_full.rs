//! A full disk, simulated by the limit on the size of the process' files (`RLIMIT_FSIZE`).

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// Sets the maximum size of this process' files; `None` restores the hard limit.
fn limit_files(bytes: Option<u64>) {
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: getrlimit(Resource::Fsize).maximum })
        .expect("set");
}

fn large(seq: u64) -> StoredEvent {
    let mut event = event(seq);
    event.data = format!(r#"{{"text":"{}"}}"#, "x".repeat(4_000)).into();
    event
}

/// Appends until it fails, and returns the number of the last acknowledged event.
async fn fill(disk: &Disk) -> u64 {
    for seq in 1..1_000 {
        if let Err(error) = append_one(disk, "chat", large(seq)).await {
            assert!(error.concerns_all() && !error.is_conflict(), "{error}");
            assert!(error.to_string().starts_with("can't write to the store: "), "{error}");
            return seq - 1;
        }
    }
    panic!("1,000 appends succeeded in spite of the limit");
}

/// Runs in a process of its own, since the limit applies to the whole process.
#[tokio::test]
#[ignore = "run by `a_full_disk_loses_nothing`"]
async fn runs_out_of_space() {
    let disk = Disk::open(passed_directory()).expect("opened");
    limit_files(Some(256 << 10));
    let acknowledged = fill(&disk).await;
    for _ in 0..3 {
        let last = disk.head("chat").await.expect("read").expect("a log").last.seq;
        assert!(last >= acknowledged, "event {acknowledged} is lost");
        append_one(&disk, "chat", large(last + 1)).await.expect_err("the disk is full");
    }
    disk.put(vec![("a/1".into(), Some("x".repeat(64 << 10).into()))]).await.expect_err("the disk is full");

    limit_files(None);
    let last = disk.head("chat").await.expect("read").expect("a log").last.seq;
    append_one(&disk, "chat", large(last + 1)).await.expect("there is space again");
    disk.put(vec![("a/1".into(), Some("x".repeat(64 << 10).into()))]).await.expect("there is space again");
    assert_eq!(numbers(&all(&disk, "chat").await), (1..=last + 1).collect::<Vec<_>>());
    drop(disk);
    let disk = Disk::open(passed_directory()).expect("opened");
    assert_eq!(disk.head("chat").await.expect("read").expect("a log").last.seq, last + 1);
}

#[test]
fn a_full_disk_loses_nothing() {
    let scratch = Scratch::new();
    let test = test_command("disk_full::runs_out_of_space", &scratch.0);
    // Writing past the limit raises SIGXFSZ, which terminates the process unless it is ignored.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(test.get_program()).args(test.get_args());
    shell.env("DIALOGUE_DISK", &scratch.0);
    let child = shell.output().expect("started");
    let output =
        String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}
