//! The invariants of ARCHITECTURE.md that a test can check.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

#[path = "architecture/import_graph.rs"]
mod import_graph;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The code of the Rust files below a folder, with their paths from there, without tests.
fn sources(folder: &str) -> Result<Vec<(String, String)>> {
    Ok(files(folder)?.into_iter().map(|(name, text)| (name, code_of(&text))).collect())
}

/// The Rust files below a folder, with their paths from there, without those of tests.
fn files(folder: &str) -> Result<Vec<(String, String)>> {
    let folder = root().join(folder);
    let (mut folders, mut files) = (vec![folder.clone()], Vec::new());
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next)? {
            let path = entry?.path();
            let name = path.strip_prefix(&folder)?.to_string_lossy().replace('\\', "/");
            let is_test = name
                .split('/')
                .any(|part| part == "tests" || part.ends_with("tests.rs") || part == "fuzz.rs")
                || name == "client/core/model.rs"
                || name.starts_with("live/room/model/")
                || name.starts_with("testing/store/broken/");
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".rs") && !is_test {
                files.push((name, fs::read_to_string(&path)?));
            }
        }
    }
    assert!(!files.is_empty(), "no sources in {}", folder.display());
    Ok(files)
}

/// The folders of the packages of the library but for the macros: that of `dialogue`, and those below it.
fn packages() -> Result<Vec<String>> {
    let mut packages = vec!["dialogue".to_owned()];
    for entry in fs::read_dir(root().join("dialogue"))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").exists() {
            packages.push(format!("dialogue/{}", entry.file_name().to_string_lossy()));
        }
    }
    assert!(packages.len() > 1, "no packages below `dialogue`");
    Ok(packages)
}

/// The text without comments, and without the module of tests at its end.
fn code_of(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The module at the top of the crate that a file belongs to.
fn module_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name).trim_end_matches(".rs")
}

/// The first names of all paths in `text` that begin with `prefix`: `{a::B, c}` has `a` and `c`.
fn first_names(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || "_$:".contains(c)) {
            continue;
        }
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => drop(names.insert(word(rest))),
            Some(list) => {
                let (mut depth, mut begins) = (0, true);
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => begins = true,
                        c if begins && !c.is_whitespace() => {
                            begins = false;
                            names.insert(word(&list[at..]));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The rows of the table of modules: each module with those that it may import.
fn declared() -> Result<Vec<(String, BTreeSet<String>)>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let table = text.split("\n## Modules\n").nth(1).ok_or("no table of modules")?;
    let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let rows = rows.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split('|').collect();
        let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let module = names(cells[0]).concat();
        (module, names(cells[2]).into_iter().collect())
    });
    Ok(rows.collect())
}

#[test]
fn imports_run_downward_as_the_table_of_modules_says() -> Result {
    // It is explained below the table.
    const UPWARD: (&str, &str) = ("room", "middleware");
    let declared = declared()?;
    let order: Vec<_> = declared.iter().map(|(module, _)| module.as_str()).collect();
    for (place, (module, imports)) in declared.iter().enumerate() {
        for import in imports {
            let is_below = order[..place].contains(&import.as_str());
            assert!(is_below || UPWARD == (module, import), "`{module}` lists `{import}` above it");
        }
    }
    let roots = import_graph::root_names(&fs::read_to_string(root().join("dialogue/src/lib.rs"))?);
    let imports: BTreeMap<_, _> = declared.into_iter().collect();
    let (mut seen, mut unlisted) = (BTreeSet::new(), BTreeSet::new());
    for (name, text) in sources("dialogue/src")? {
        let module = module_of(&name);
        if matches!(module, "lib" | "__private" | "guide") {
            continue;
        }
        let allowed = imports.get(module).ok_or_else(|| format!("`{module}` is not in the table"))?;
        for import in first_names(&text, "crate::") {
            let import = Some(&import).filter(|name| imports.contains_key(*name)).or(roots.get(&import));
            let Some(import) = import else { continue };
            if import != module && imports.contains_key(import) {
                if !allowed.contains(import) {
                    unlisted.insert(format!("{name} imports `{import}`"));
                }
                seen.insert((module.to_owned(), import.clone()));
            }
        }
    }
    assert!(unlisted.is_empty(), "not in the table: {unlisted:#?}");
    for (module, allowed) in &imports {
        for import in allowed {
            let is_used = seen.contains(&(module.clone(), import.clone()));
            assert!(is_used, "the table lists `{import}` for `{module}`, which doesn't import it");
        }
    }
    Ok(())
}

#[test]
fn files_that_import_each_other_are_three_at_most() -> Result {
    const MAX_FILES: usize = 3;
    let mut report = String::new();
    for package in packages()? {
        let mut files = files(&format!("{package}/src"))?;
        files.retain(|(name, _)| module_of(name) != "__private" && name != "guide.rs");
        let graph = import_graph::import_graph(&files);
        for circle in import_graph::circles(&graph).iter().filter(|circle| circle.len() > MAX_FILES) {
            writeln!(report, "{} files of {package} import each other:", circle.len())?;
            for name in circle {
                let imports = graph[*name].iter().filter(|(import, _)| circle.contains(import.as_str()));
                for (import, names) in imports {
                    let names: Vec<_> = names.iter().map(String::as_str).collect();
                    writeln!(report, "    {name} → {import}: {}", names.join(", "))?;
                }
            }
        }
    }
    assert!(report.is_empty(), "{report}");
    Ok(())
}

/// What comes with the library is written as an application would write it.
#[test]
fn packages_use_what_an_application_can() -> Result {
    let exported: BTreeSet<_> = files("dialogue/src")?
        .iter()
        .flat_map(|(_, text)| import_graph::paths_into("dialogue_core", text).0)
        .collect();
    let is_public = |path: &[String]| {
        // A path may go on, to a variant or a method, or be that of a module.
        exported.iter().any(|item| path.starts_with(item) || item.starts_with(path))
    };
    for package in packages()?.iter().filter(|name| !["dialogue", "dialogue/core"].contains(&name.as_str())) {
        let mut uses_core = false;
        for (name, text) in files(&format!("{package}/src"))? {
            for path in import_graph::paths_into("dialogue_core", &text).1 {
                uses_core = true;
                assert!(is_public(&path), "{package}: {name} names `{}`", path.join("::"));
            }
        }
        assert!(uses_core, "{package} doesn't use the core");
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml"))?;
        let dependencies = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        let on_dialogue =
            dependencies.lines().any(|line| line.starts_with("dialogue.") || line.starts_with("dialogue ="));
        assert!(!on_dialogue, "{package} depends on `dialogue`");
    }
    Ok(())
}

#[test]
fn no_channel_imports_another() -> Result {
    const CHANNELS: [&str; 5] = ["websocket", "sse", "http", "push", "inspector"];
    for (name, text) in sources("dialogue/src/channel")? {
        let own = module_of(&name);
        if !CHANNELS.contains(&own) {
            continue;
        }
        for other in CHANNELS.iter().filter(|other| **other != own) {
            // It is served over HTTP.
            let shares = (own, *other) == ("push", "http");
            for path in [format!("super::{other}"), format!("channel::{other}")] {
                let imports =
                    first_names(&text, &format!("{}::", path.rsplit_once("::").map_or("", |p| p.0)));
                assert!(shares || !imports.contains(*other), "{name} imports {path}");
            }
        }
    }
    Ok(())
}

#[test]
fn no_queue_is_unbounded() -> Result {
    for package in packages()? {
        for (name, text) in sources(&format!("{package}/src"))? {
            for unbounded in ["unbounded_channel", "UnboundedSender", "::unbounded(", "mpsc::channel()"] {
                assert!(!text.contains(unbounded), "{package}: {name} has {unbounded}");
            }
        }
    }
    Ok(())
}

#[test]
fn proc_macros_tokens_are_at_the_macros_door_only() -> Result {
    for (name, text) in sources("dialogue-macros/src")? {
        let is_named = !first_names(&text, "proc_macro::").is_empty();
        assert!(!is_named || name == "lib.rs", "{name} names proc_macro");
    }
    Ok(())
}

#[test]
fn what_is_pure_has_no_async_and_no_clock() -> Result {
    let wire = sources("dialogue/core/src")?.into_iter().filter(|(name, _)| module_of(name) == "wire");
    for (name, text) in sources("dialogue/src")?.into_iter().chain(wire) {
        let is_driver = ["log/journal.rs", "log/commit_queue.rs", "log/health.rs"].contains(&name.as_str());
        let is_room = name.starts_with("live/room/");
        if (is_room || matches!(module_of(&name), "wire" | "validate" | "log")) && !is_driver {
            let awaits =
                text.split(".await").skip(1).any(|rest| !rest.starts_with(|next: char| next.is_alphabetic()));
            assert!(!awaits && !text.contains("async "), "{name} has async code");
        }
        if is_room || name == "log/mod.rs" || module_of(&name) == "wire" {
            assert!(!text.contains("::now()") && !text.contains("clock::"), "{name} reads a clock");
        }
        if is_room {
            let driver = ["tokio::", "oneshot", "FnOnce", "live::driver", "live::registry", "super::driver"];
            let named = driver.iter().find(|name| text.contains(*name));
            assert_eq!(named, None, "{name} knows what drives it");
        }
        if is_room || name.starts_with("live/delivery/") {
            let above = ["LiveRoom", "Registry", "Archive>", "Cluster>", "spawn("];
            let named = above.iter().find(|name| text.contains(*name));
            assert_eq!(named, None, "{name} knows what it runs in");
        }
    }
    Ok(())
}

#[test]
fn axum_is_known_where_http_is_served_only() -> Result {
    for (name, text) in sources("dialogue/src")? {
        if !matches!(module_of(&name), "channel" | "server" | "lib") {
            assert!(first_names(&text, "axum::").is_empty(), "{name} names axum");
        }
    }
    for (name, text) in sources("dialogue/core/src")? {
        if !["metrics/exporter.rs", "wire/response.rs"].contains(&name.as_str()) {
            assert!(first_names(&text, "axum::").is_empty(), "{name} names axum");
        }
    }
    Ok(())
}

/// The paths in backticks, with the alternatives of `{a,b}`; each with the line that it is in.
fn named_paths(text: &str) -> Vec<(&str, String)> {
    let is_path = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-./{},".contains(c);
        let is_file =
            [".rs", ".lua", ".md", ".json", ".yaml", ".toml", ".py"].iter().any(|end| name.ends_with(end));
        name.contains('/')
            && name.chars().all(plain)
            && !name.starts_with('/')
            && (is_file || name.ends_with('/'))
    };
    let names =
        text.lines().flat_map(|line| line.split('`').skip(1).step_by(2).map(move |name| (line, name)));
    let paths = names.filter(|(_, name)| is_path(name));
    paths.flat_map(|(line, name)| alternatives(name).into_iter().map(move |name| (line, name))).collect()
}

fn alternatives(name: &str) -> Vec<String> {
    let parts = name.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    match parts {
        None => vec![name.to_owned()],
        Some((head, (list, tail))) => list.split(',').map(|one| format!("{head}{one}{tail}")).collect(),
    }
}

/// A path begins in `dialogue/src`, at the top, or in a folder that the same line names.
#[test]
fn what_the_documents_name_exists() -> Result {
    let mut missing = String::new();
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "dialogue/src/docs/guide/limits.md"] {
        let text = fs::read_to_string(root().join(document))?;
        let paths = named_paths(&text);
        for (line, path) in &paths {
            let folders = line.split('`').skip(1).step_by(2).filter(|name| name.contains('/'));
            let mut bases = ["", "dialogue/src", "dialogue"].into_iter().chain(folders);
            if !bases.any(|base| root().join(base).join(path).exists()) {
                writeln!(missing, "{document}: {path}")?;
            }
        }
        assert!(paths.len() > 2 || document.ends_with("limits.md"), "{document} names no files");
    }
    assert!(missing.is_empty(), "{missing}");
    Ok(())
}
