//! Which file of a crate names the items of which other file, whatever re-exports its paths go through. A call of a
//! method names no item: it is an edge where the file names its type.

use std::collections::{BTreeMap, BTreeSet};

type Path = Vec<String>;

/// The items that a file defines and those that it names, without its tests.
#[derive(Default)]
struct File {
    name: String,
    defined: BTreeSet<String>,
    /// The path behind each name that a `use` brings into scope.
    uses: BTreeMap<String, Path>,
    /// The modules of which a `use` brings all names into scope.
    globs: Vec<Path>,
    /// The paths that the code names. A `pub use` is none: it names an item for others.
    named: Vec<Path>,
}

/// For each file those whose items it names, with the names.
pub(crate) type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The graph of files with these names and texts, of which `lib.rs` is the root of the crate and no node.
pub(crate) fn import_graph(sources: &[(String, String)]) -> Graph {
    let files = sources.iter().map(|(name, text)| (module_path(name), File::read(name, text)));
    let files = Files(files.collect());
    let mut graph = Graph::new();
    for (module, file) in files.0.iter().filter(|(module, _)| !module.is_empty()) {
        let imports = graph.entry(file.name.clone()).or_default();
        for path in &file.named {
            // A name that no `use` brings here is a variable's, or of an item of this file.
            if path.len() == 1 && !file.has(&path[0]) && file.globs.is_empty() {
                continue;
            }
            let definer = files.definer(module, path).map(|definer| &definer.name);
            if let Some(definer) = definer.filter(|name| **name != file.name && *name != "lib.rs") {
                imports.entry(definer.clone()).or_default().insert(path.join("::"));
            }
        }
    }
    graph
}

/// The sets of more than one file in which each reaches all others (strongly connected components).
pub(crate) fn circles(graph: &Graph) -> Vec<BTreeSet<&str>> {
    let reachable: BTreeMap<_, _> =
        graph.keys().map(|name| (name.as_str(), reachable(graph, name))).collect();
    let circles: BTreeSet<BTreeSet<_>> = reachable
        .iter()
        .map(|(name, others)| {
            others.iter().copied().filter(|other| reachable[other].contains(name)).collect()
        })
        .collect();
    circles.into_iter().filter(|circle| circle.len() > 1).collect()
}

fn reachable<'a>(graph: &'a Graph, from: &'a str) -> BTreeSet<&'a str> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(name) = next.pop() {
        next.extend(graph[name].keys().map(String::as_str).filter(|name| reached.insert(*name)));
    }
    reached
}

/// The files of a crate by the paths of their modules.
struct Files(BTreeMap<Path, File>);

impl Files {
    /// The file that defines what `path` means in `module`, if it's in this crate: for a path that ends with a module,
    /// the file of that module.
    fn definer(&self, module: &[String], path: &[String]) -> Option<&File> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.definer_below(vec![], rest),
            "self" => self.definer_below(module.to_vec(), rest),
            "super" => {
                let (_, parent) = module.split_last()?;
                match rest.first() {
                    Some(next) if next == "super" => self.definer(parent, rest),
                    _ => self.definer_below(parent.to_vec(), rest),
                }
            }
            _ => self.definer_below(module.to_vec(), path),
        }
    }

    fn definer_below(&self, mut module: Path, path: &[String]) -> Option<&File> {
        for (at, name) in path.iter().enumerate() {
            let (file, is_last) = (self.0.get(&module)?, at + 1 == path.len());
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            let is_child = self.0.contains_key(&child);
            if is_child && !is_last {
                module = child;
            } else if file.defined.contains(name) {
                return Some(file);
            } else if let Some(used) = file.uses.get(name).filter(|used| is_child || used[0] != *name) {
                // A module may have the name of an item, of this crate or of another.
                let definer = self.definer(&module, &[used, &path[at + 1..]].concat());
                return definer.or_else(|| self.0.get(&child));
            } else if is_child {
                return self.0.get(&child);
            } else {
                let globs = file.globs.iter().filter(|glob| glob[0] != *name);
                let source =
                    globs.filter_map(|glob| self.definer(&module, glob)).find(|file| file.has(name))?;
                return self.definer_below(module_path(&source.name), &path[at..]);
            }
        }
        self.0.get(&module)
    }
}

/// `a::b` for `a/b.rs` and `a/b/mod.rs`.
fn module_path(file: &str) -> Path {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').filter(|name| *name != "lib").map(str::to_owned).collect()
}

impl File {
    fn has(&self, name: &str) -> bool {
        self.defined.contains(name) || self.uses.contains_key(name)
    }

    fn read(name: &str, text: &str) -> File {
        const TYPES: [&str; 4] = ["enum", "struct", "trait", "union"];
        const OTHERS: [&str; 5] = ["const", "fn", "mod", "static", "type"];
        let tokens = without_tests(&tokens(text));
        let (mut file, mut depth, mut at) = (File { name: name.to_owned(), ..File::default() }, 0, 0);
        while at < tokens.len() {
            let before = at.checked_sub(1).map_or("", |at| tokens[at]);
            let next = tokens.get(at + 1).copied().unwrap_or_default();
            match tokens[at] {
                "{" => depth += 1,
                "}" => depth -= 1,
                // `pub(in crate::a)` names no item.
                "pub" if next == "(" && matches!(tokens[at + 2], "crate" | "super" | "self" | "in") => {
                    at += tokens[at..].iter().take_while(|token| **token != ")").count();
                }
                "use" if next != "<" => {
                    let mut trees = vec![];
                    at = use_tree(&tokens, at + 1, &mut vec![], &mut trees);
                    file.add_uses(trees, matches!(before, "pub" | ")"), depth > 0);
                    continue;
                }
                // In braces there are the types that a macro of the file defines.
                item if is_name(next) && (TYPES.contains(&item) || depth == 0 && OTHERS.contains(&item)) => {
                    // A module with a file of its own is found by that.
                    if item != "mod" || tokens.get(at + 2) == Some(&"{") {
                        file.defined.insert(next.to_owned());
                    }
                    at += 1;
                }
                token if is_name(token) => {
                    let is_field = before == "." && at.checked_sub(2).is_none_or(|at| tokens[at] != ".");
                    let mut path = vec![token.to_owned()];
                    while tokens.get(at + 1) == Some(&"::") && tokens.get(at + 2).is_some_and(|t| is_name(t))
                    {
                        path.push(tokens[at + 2].to_owned());
                        at += 2;
                    }
                    if !is_field && before != "::" {
                        file.named.push(path);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        file
    }

    fn add_uses(&mut self, trees: Vec<(String, Path)>, is_public: bool, is_local: bool) {
        for (alias, path) in trees {
            if !is_public {
                self.named.push(path.clone());
            }
            match alias.as_str() {
                _ if is_local => {}
                "*" => self.globs.push(path),
                _ => drop(self.uses.insert(alias, path)),
            }
        }
    }
}

/// The modules that the names at the root of a crate come from, by the text of its `lib.rs`.
pub(crate) fn root_names(lib: &str) -> BTreeMap<String, String> {
    let uses = File::read("lib.rs", lib).uses.into_iter();
    uses.filter_map(|(name, path)| Some((name, path.into_iter().find(|part| part != "self")?))).collect()
}

/// The paths into another crate that a file re-exports by a `pub use`, and the others that it names.
pub(crate) fn paths_into(other: &str, text: &str) -> (BTreeSet<Path>, BTreeSet<Path>) {
    let tokens = without_tests(&tokens(text));
    let (mut exported, mut named, mut at) = (BTreeSet::new(), BTreeSet::new(), 0);
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |at| tokens[at]);
        match tokens[at] {
            "use" => {
                let mut trees = vec![];
                at = use_tree(&tokens, at + 1, &mut vec![], &mut trees);
                let paths = trees.into_iter().map(|(_, path)| path).filter(|path| path[0] == other);
                if before == "pub" {
                    exported.extend(paths)
                } else {
                    named.extend(paths)
                }
                continue;
            }
            token if token == other && before != "::" => {
                let names = tokens[at..].iter().step_by(2).take_while(|token| is_name(token));
                let links = tokens[at + 1..].iter().step_by(2).take_while(|token| **token == "::");
                let length = links.count() + 1;
                named.insert(names.take(length).map(|name| (*name).to_owned()).collect());
            }
            _ => {}
        }
        at += 1;
    }
    (exported, named)
}

/// Reads a tree of a `use` at `at`: adds its names with the paths behind them to `trees`, and returns where it ends.
fn use_tree(tokens: &[&str], mut at: usize, prefix: &mut Path, trees: &mut Vec<(String, Path)>) -> usize {
    let outer = prefix.len();
    loop {
        match tokens[at] {
            "::" => at += 1,
            "{" => {
                at += 1;
                while tokens[at] != "}" {
                    at = use_tree(tokens, at, prefix, trees);
                    at += usize::from(tokens[at] == ",");
                }
                at += 1;
                break;
            }
            "*" => {
                trees.push(("*".to_owned(), prefix.clone()));
                at += 1;
                break;
            }
            name => {
                if name != "self" || prefix.is_empty() {
                    prefix.push(name.to_owned());
                }
                at += 1;
                if tokens[at] != "::" {
                    let is_renamed = tokens[at] == "as";
                    let alias = if is_renamed { tokens[at + 1] } else { &prefix[prefix.len() - 1] };
                    trees.push((alias.to_owned(), prefix.clone()));
                    at += if is_renamed { 2 } else { 0 };
                    break;
                }
            }
        }
    }
    prefix.truncate(outer);
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The tokens of Rust code: names, `::` and single characters, without comments, lifetimes and literals of text.
fn tokens(mut text: &str) -> Vec<&str> {
    let mut tokens = vec![];
    while let Some(first) = text.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if text.starts_with("//") {
            text.find('\n').unwrap_or(text.len())
        } else if text.starts_with("/*") {
            text.find("*/").map_or(text.len(), |end| end + 2)
        } else if let Some(length) = raw_text(text) {
            length
        } else if first == '"' {
            quoted(text, '"')
        } else if first == '\'' {
            // A character, or a lifetime.
            let is_character = text[1..].starts_with('\\') || text.chars().nth(2) == Some('\'');
            if is_character { quoted(text, '\'') } else { 1 + text[1..].find(|c| !is_word(c)).unwrap_or(0) }
        } else {
            let length = match () {
                () if is_word(first) => text.find(|c| !is_word(c)).unwrap_or(text.len()),
                () if text.starts_with("::") => 2,
                () => first.len_utf8(),
            };
            if !first.is_whitespace() {
                tokens.push(&text[..length]);
            }
            length
        };
        text = &text[length..];
    }
    tokens
}

/// The length of the raw literal with which `text` starts, if it does.
fn raw_text(text: &str) -> Option<usize> {
    let quoted = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let inner = quoted.trim_start_matches('#').strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(quoted.len() - inner.len() - 1));
    let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
    Some(text.len() - inner.len() + length)
}

/// The length of the literal at the start of `text`, with its quotes.
fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

/// The tokens but for the items, fields and variants under `cfg(test)`.
fn without_tests<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut at) = (vec![], 0);
    while at < tokens.len() {
        if !tokens[at..].starts_with(&TEST) {
            kept.push(tokens[at]);
            at += 1;
            continue;
        }
        let mut depth = 0;
        at += TEST.len();
        for token in &tokens[at..] {
            depth += i32::from(matches!(*token, "{" | "(" | "["));
            depth -= i32::from(matches!(*token, "}" | ")" | "]"));
            // The last field or variant ends before the bracket in which it stands.
            if depth < 0 {
                break;
            }
            at += 1;
            if depth == 0 && matches!(*token, "}" | ";" | ",") {
                break;
            }
        }
    }
    kept
}

#[test]
fn an_import_is_of_the_file_that_defines_the_item() {
    let sources = [
        ("lib.rs", "mod a; mod b; pub use a::A;"),
        ("a/mod.rs", "mod c; pub use c::C; pub(crate) use c::{c, Unused}; pub struct A; fn a() { c() }"),
        (
            "a/c.rs",
            "pub struct C; pub fn c() { \"crate::b::B\" } // crate::b::B\n#[cfg(test)] use crate::b::B;",
        ),
        ("b.rs", "use crate::{A, a::{self, C as D}}; pub(in crate::a) struct B; fn b() -> super::a::C {}"),
    ];
    let graph = import_graph(&sources.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let names =
        |from: &str, to: &str| graph[from].get(to).map(|names| names.iter().cloned().collect::<Vec<_>>());
    assert_eq!(names("a/mod.rs", "a/c.rs"), Some(vec!["c".to_owned()]));
    assert_eq!(graph["a/c.rs"].len(), 0);
    assert_eq!(names("b.rs", "a/mod.rs"), Some(vec!["crate::A".to_owned(), "crate::a".to_owned()]));
    assert_eq!(names("b.rs", "a/c.rs"), Some(vec!["crate::a::C".to_owned(), "super::a::C".to_owned()]));
    assert_eq!(circles(&graph), Vec::<BTreeSet<&str>>::new());
}
