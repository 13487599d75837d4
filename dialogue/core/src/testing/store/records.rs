//! Tests of records: small values by key.

use super::tried::Tried;

pub(super) async fn a_record_is_put_and_got(tried: Tried<'_>) {
    assert_eq!(tried.get("rooms/chat").await, None, "`get` gave a record that was never put");
    tried.put([]).await;
    tried.put([("rooms/chat", Some(b"1".as_slice())), ("rooms/feed", Some(b"2"))]).await;
    has(&tried, "rooms/chat", Some(b"1")).await;
    has(&tried, "rooms/feed", Some(b"2")).await;
    has(&tried, "rooms/", None).await;
    has(&tried, "rooms/cha", None).await;
}

pub(super) async fn a_record_is_replaced_and_removed(tried: Tried<'_>) {
    tried.put([("a/1", Some(b"old".as_slice())), ("a/2", Some(b"stays")), ("a/3", Some(b"goes"))]).await;
    tried.put([("a/1", Some(b"new".as_slice())), ("a/3", None), ("a/4", None), ("a/5", Some(b"more"))]).await;
    for (key, due) in [
        ("a/1", Some(b"new".as_slice())),
        ("a/2", Some(b"stays")),
        ("a/3", None),
        ("a/4", None),
        ("a/5", Some(b"more")),
    ] {
        has(&tried, key, due).await;
    }
    scanned(&tried, "a/", None, 10, &["a/1", "a/2", "a/5"]).await;
    tried.put([("a/3", Some(b"back".as_slice()))]).await;
    has(&tried, "a/3", Some(b"back")).await;
}

pub(super) async fn a_record_holds_any_bytes(tried: Tried<'_>) {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let large = all.repeat(256);
    let values = [
        ("v/empty", &[][..]),
        ("v/zero", &[0]),
        ("v/all", &all),
        ("v/large", &large),
        ("v/text", "é".as_bytes()),
    ];
    tried.put(values.map(|(key, value)| (key, Some(value)))).await;
    for (key, value) in values {
        has(&tried, key, Some(value)).await;
    }
    let scanned = tried.scan("v/", None, 10).await;
    for (key, value) in scanned {
        let due = values.iter().find(|(due, _)| *due == key).map(|(_, value)| *value);
        assert_eq!(Some(&*value), due, "`scan` gave another value than was put under `{key}`");
    }
}

pub(super) async fn records_are_scanned_in_the_order_of_bytes(tried: Tried<'_>) {
    // Keys in the order of their bytes. Other orders differ: by letters without case, by UTF-16 (where the last two
    // change places), by numbers.
    let keys = [
        "s/!",
        "s/10",
        "s/9",
        "s/B",
        "s/_",
        "s/a",
        "s/a!",
        "s/a/b",
        "s/aa",
        "s/e\u{301}",
        "s/z",
        "s/Ä",
        "s/é",
        "s/\u{ff5e}",
        "s/😀",
    ];
    for key in keys.iter().rev().step_by(2).chain(keys.iter().rev().skip(1).step_by(2)) {
        tried.put([(*key, Some(b"x".as_slice()))]).await;
    }
    scanned(&tried, "s/", None, 100, &keys).await;
}

pub(super) async fn a_scan_keeps_to_its_prefix(tried: Tried<'_>) {
    let keys = [
        "a",
        "a.",
        "a/",
        "a/1",
        "a/1/2",
        "a/1/3",
        "a/~",
        "a/\u{10ffff}",
        "a0",
        "a%/1",
        "a_/1",
        "a*/1",
        "ab/1",
        "A/1",
        "b/1",
        "[a]/1",
    ];
    tried.put(keys.map(|key| (key, Some(b"x".as_slice())))).await;
    scanned(&tried, "a/", None, 100, &["a/", "a/1", "a/1/2", "a/1/3", "a/~", "a/\u{10ffff}"]).await;
    for (prefix, due) in [("a%/", "a%/1"), ("a_/", "a_/1"), ("a*/", "a*/1"), ("[a]/", "[a]/1"), ("A/", "A/1")]
    {
        scanned(&tried, prefix, None, 100, &[due]).await;
    }
    scanned(&tried, "a/1/", None, 100, &["a/1/2", "a/1/3"]).await;
    scanned(&tried, "none/", None, 100, &[]).await;
}

pub(super) async fn a_scan_goes_on_after_a_key(tried: Tried<'_>) {
    let keys: Vec<_> = (0..1_200).map(|number| format!("n/{number:04}")).collect();
    for some in keys.chunks(100) {
        tried.put(some.iter().map(|key| (&**key, Some(key.as_bytes())))).await;
    }
    tried.put([("m/1", Some(b"x".as_slice())), ("o/1", Some(b"x"))]).await;
    let (mut seen, mut after) = (Vec::<String>::new(), None);
    loop {
        let page = tried.scan("n/", after.as_deref(), 77).await;
        assert!(page.len() <= 77, "`scan` gave {} records where `limit` was 77", page.len());
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        seen.extend(page.into_iter().map(|(key, _)| key));
        assert!(seen.len() <= keys.len(), "`scan` gave records again that come before `after`");
    }
    assert_eq!(seen, keys, "the pages of a `scan` are not all records, each once");
    scanned(&tried, "n/", Some("n/0003x"), 2, &["n/0004", "n/0005"]).await;
    scanned(&tried, "n/", Some("n/1199"), 2, &[]).await;
    scanned(&tried, "n/", Some("m/2"), 1, &["n/0000"]).await;
}

async fn has(tried: &Tried<'_>, key: &str, due: Option<&[u8]>) {
    let got = tried.get(key).await;
    let size =
        |value: Option<&[u8]>| value.map_or("nothing".to_owned(), |value| format!("{} bytes", value.len()));
    assert!(
        got.as_deref() == due,
        "`get` of `{key}` gave {}, or others, where {} were put",
        size(got.as_deref()),
        size(due)
    );
}

async fn scanned(tried: &Tried<'_>, prefix: &str, after: Option<&str>, limit: usize, due: &[&str]) {
    let got: Vec<_> = tried.scan(prefix, after, limit).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        got, due,
        "`scan` of `{prefix}` after {after:?} gave other keys, or in another order than that of their bytes"
    );
}
