//! A disk that is full: here, files that may not grow further, which needs no file system of its own.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;

/// Files of this process may be so long.
fn limit_files(bytes: Option<u64>) {
    setrlimit(Resource::Fsize, Rlimit { current: bytes, maximum: getrlimit(Resource::Fsize).maximum })
        .expect("set");
}

fn large(seq: u64) -> StoredEvent {
    StoredEvent { data: format!(r#"{{"text":"{}"}}"#, "x".repeat(4_000)).into(), ..event(seq) }
}

/// Appends until it can't; yields the number of the last event that was acknowledged.
async fn fill(disk: &Disk) -> u64 {
    for seq in 1..1_000 {
        if let Err(error) = append_one(disk, "chat", large(seq)).await {
            assert!(error.is_of_all() && !error.is_conflict(), "{error}");
            assert!(error.to_string().starts_with("can't write to the store: "), "{error}");
            return seq - 1;
        }
    }
    panic!("there is no limit");
}

/// The limit is the whole process', so it has one of its own.
#[tokio::test]
#[ignore = "run by `a_full_disk_loses_nothing`"]
async fn runs_out_of_space() {
    let disk = Disk::open(named()).expect("opened");
    limit_files(Some(256 << 10));
    let acknowledged = fill(&disk).await;
    for _ in 0..3 {
        let last = disk.head("chat").await.expect("told").expect("a log").last.seq;
        assert!(last >= acknowledged, "event {acknowledged} is gone");
        append_one(&disk, "chat", large(last + 1)).await.expect_err("it is full");
    }
    disk.put(vec![("a/1".into(), Some("x".repeat(64 << 10).into()))]).await.expect_err("it is full");

    limit_files(None);
    let last = disk.head("chat").await.expect("told").expect("a log").last.seq;
    append_one(&disk, "chat", large(last + 1)).await.expect("there is space again");
    disk.put(vec![("a/1".into(), Some("x".repeat(64 << 10).into()))]).await.expect("there is space again");
    assert_eq!(numbers(&all(&disk, "chat").await), (1..=last + 1).collect::<Vec<_>>());
    drop(disk);
    let disk = Disk::open(named()).expect("opened");
    assert_eq!(disk.head("chat").await.expect("told").expect("a log").last.seq, last + 1);
}

#[test]
fn a_full_disk_loses_nothing() {
    let scratch = Scratch::new();
    let test = alone("full::runs_out_of_space", &scratch.0);
    // A process is told of the limit by a signal, which ends it unless it is ignored.
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(test.get_program()).args(test.get_args());
    shell.env("DIALOGUE_DISK", &scratch.0);
    let ran = shell.output().expect("started");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}
