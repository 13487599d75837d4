//! The guide's chapters link to each other, in rustdoc and where the files are read by themselves.

use std::{collections::BTreeMap, error::Error, fs, path::Path};

/// The link definitions of a text: targets by label.
fn definitions(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).collect()
}

/// The anchors of a text's headings, as rustdoc and the usual hosts of repositories make them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn chapters_link_to_what_is_there() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/docs/guide");
    let links = fs::read_to_string(folder.join("links.md"))?;
    let in_rustdoc = definitions(&links);
    let mut seen = 0;
    for file in fs::read_dir(&folder)? {
        let path = file?.path();
        if path.ends_with("links.md") {
            continue;
        }
        for (label, target) in definitions(&fs::read_to_string(&path)?) {
            let at = format!("{}: [{label}]: {target}", path.display());
            assert_eq!(
                in_rustdoc.get(label),
                Some(&&*format!("crate::guide::{label}")),
                "links.md lacks {at}"
            );
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let chapter = fs::read_to_string(folder.join(file)).map_err(|error| format!("{at}: {error}"))?;
            assert!(anchor.is_empty() || anchors(&chapter).iter().any(|there| there == anchor), "{at}");
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} links were found");
    Ok(())
}
