//! Paths in macro input. syn's own parser takes any keyword for a segment.

use syn::{Ident, Path, Result, parse::ParseStream};

/// Parses the path of a type.
pub(crate) fn of_type(input: ParseStream<'_>) -> Result<Path> {
    let path = of_module(input)?;
    match path.segments.last() {
        Some(last) if is_plain(&last.ident) => Ok(path),
        _ => Err(syn::Error::new_spanned(&path, "expected the name of a type")),
    }
}

/// Parses the path of a type or a module.
pub(crate) fn of_module(input: ParseStream<'_>) -> Result<Path> {
    let path = input.call(Path::parse_mod_style)?;
    match path.segments.iter().find(|segment| !is_plain(&segment.ident) && !leads(&segment.ident)) {
        None => Ok(path),
        Some(segment) => Err(syn::Error::new_spanned(segment, "expected a name, found a keyword")),
    }
}

pub(crate) fn is_plain(ident: &Ident) -> bool {
    syn::parse_str::<Ident>(&ident.to_string()).is_ok()
}

fn leads(ident: &Ident) -> bool {
    ["self", "super", "crate", "$crate"].iter().any(|word| ident == word)
}
