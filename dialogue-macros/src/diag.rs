//! Errors of one expansion: collected instead of stopping at the first, each with a near miss as the suggestion.

use std::fmt::Display;

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// Every error found so far, each at the user's own token.
#[derive(Default)]
pub(crate) struct Errors(Option<syn::Error>);

impl Errors {
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.push(syn::Error::new(span, message));
    }

    /// Adds an error that covers all of `tokens`.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(syn::Error::new_spanned(tokens, message));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn append(&mut self, other: Errors) {
        if let Some(error) = other.0 {
            self.push(error);
        }
    }

    /// Returns the value, or records the error and returns `None`.
    pub(crate) fn ok<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }
}

impl ToTokens for Errors {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        if let Some(error) = &self.0 {
            tokens.extend(error.to_compile_error());
        }
    }
}

/// Returns "unknown channel `x`; did you mean `y`?", or the whole list if no known word is near.
pub(crate) fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    format!("unknown {what} `{given}`; {}", meant(given, known))
}

/// Returns "did you mean `y`?", or the whole list if no known word is near.
pub(crate) fn meant(given: &str, known: &[&str]) -> String {
    match near(given, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => one_of(known),
    }
}

/// Returns "expected `a`, `b` or `c`".
fn one_of(known: &[&str]) -> String {
    match known {
        [] => "nothing can stand here".to_owned(),
        [only] => format!("expected `{only}`"),
        [first @ .., last] => format!("expected `{}` or `{last}`", first.join("`, `")),
    }
}

/// Returns the known word of the smallest edit distance, if it is near enough to be meant.
fn near<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = given.to_lowercase();
    let close = |(distance, known): &(usize, &str)| *distance <= known.len().max(3) / 3;
    known
        .iter()
        .map(|known| (distance(&lower, &known.to_lowercase()), *known))
        .filter(close)
        .min()
        .map(|(_, known)| known)
}

/// Returns the number of edits (insert, delete, replace, swap of neighbours) from `a` to `b`: the restricted
/// Damerau-Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_is_near_and_else_the_list() {
        let known = ["websocket", "sse"];
        assert_eq!(
            unknown("channel", "websokcet", &known),
            "unknown channel `websokcet`; did you mean `websocket`?"
        );
        assert_eq!(
            unknown("channel", "WebSocket", &known),
            "unknown channel `WebSocket`; did you mean `websocket`?"
        );
        assert_eq!(
            unknown("channel", "pigeon", &known),
            "unknown channel `pigeon`; expected `websocket` or `sse`"
        );
    }
}
