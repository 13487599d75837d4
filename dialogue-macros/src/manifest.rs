//! The name under which the caller's Cargo.toml has the dependency `dialogue`.
//!
//! An attribute has no `$crate`, so that a renamed dependency (`rt = { package = "dialogue" }`) is looked up. The
//! parser knows the part of TOML in which cargo's dependency tables are written; where it fails, the option `crate =
//! path` names the crate.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use proc_macro2::Span;
use syn::{Ident, parse_quote};

const PACKAGE: &str = "dialogue";

/// Returns the path of the runtime: `::dialogue`, or the name that the caller gave it.
pub(crate) fn dialogue() -> syn::Path {
    let name = env::var_os("CARGO_MANIFEST_DIR").and_then(|folder| name(Path::new(&folder)));
    let ident = Ident::new(name.as_deref().unwrap_or(PACKAGE), Span::call_site());
    parse_quote!(::#ident)
}

fn name(folder: &Path) -> Option<String> {
    let own = dependencies(&fs::read_to_string(folder.join("Cargo.toml")).ok()?);
    let renamed = own.iter().find(|dependency| dependency.package.as_deref() == Some(PACKAGE));
    let key = match renamed {
        Some(renamed) => renamed.key.clone(),
        None if own.iter().any(|dependency| dependency.key == PACKAGE) => return None,
        None => inherited(folder, &own)?,
    };
    let name = key.replace('-', "_");
    syn::parse_str::<Ident>(&name).is_ok().then_some(name)
}

/// Returns the name in the workspace's table of a dependency that the member inherits from there.
fn inherited(folder: &Path, own: &[Dependency]) -> Option<String> {
    let manifest = |folder: &Path| -> PathBuf { folder.join("Cargo.toml") };
    let root = folder
        .ancestors()
        .filter_map(|folder| fs::read_to_string(manifest(folder)).ok())
        .find(|text| text.lines().any(|line| line.trim_start().starts_with("[workspace")))?;
    let shared = dependencies(&root);
    shared
        .into_iter()
        .filter(|dependency| dependency.package.as_deref() == Some(PACKAGE))
        .map(|dependency| dependency.key)
        .find(|key| own.iter().any(|dependency| dependency.key == *key))
}

#[derive(Debug, PartialEq)]
struct Dependency {
    key: String,
    package: Option<String>,
}

/// Parses every dependency that `manifest` names.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    // True inside `[dependencies]`, and inside `[dependencies.KEY]`.
    let (mut table, mut within) = (false, false);
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            table = header.ends_with("dependencies");
            let key = header.rsplit_once("dependencies.").map(|(_, key)| unquote(key));
            within = key.is_some();
            found.extend(key.map(|key| Dependency { key, package: None }));
        } else if let Some((key, value)) = line.split_once('=') {
            if within && unquote(key) == "package" {
                if let Some(last) = found.last_mut() {
                    last.package = Some(unquote(value));
                }
            } else if table && !key.starts_with('#') {
                let key = unquote(key.split('.').next().unwrap_or_default());
                found.push(Dependency { key, package: package(value) });
            }
        }
    }
    found
}

/// Returns the name in `{ …, package = "name", … }`.
fn package(value: &str) -> Option<String> {
    let (_, rest) = value.split_once("package")?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    rest.split(quote).nth(1).map(str::to_owned)
}

fn unquote(text: &str) -> String {
    text.split('#').next().unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_each_form_of_a_dependency() {
        let manifest = r#"
            [package]
            name = "x"
            [dependencies]
            serde = "1"
            rt = { version = "1", package = "dialogue" }   # ours
            "quoted-key" = { package = 'other' }
            shared.workspace = true
            [target.'cfg(unix)'.dependencies.long]
            version = "1"
            package = "dialogue" # ours
            [features]
            dialogue = []
        "#;
        let found: Vec<(String, Option<String>)> =
            dependencies(manifest).into_iter().map(|d| (d.key, d.package)).collect();
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(
            found,
            [
                ("serde".to_owned(), None),
                ("rt".to_owned(), some("dialogue")),
                ("quoted-key".to_owned(), some("other")),
                ("shared".to_owned(), None),
                ("long".to_owned(), some("dialogue")),
            ]
        );
    }
}
