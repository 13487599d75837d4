//! The syntax of option lists: in `#[event(…)]`, `#[room(…)]` and inside those.

use proc_macro2::TokenTree;
use syn::{
    Ident, Result, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    token,
};

use crate::diag::Errors;

/// Parses `key …, key …`; `read` parses the rest of each option. An option that `read` fails to parse is skipped.
pub(crate) fn read(
    input: ParseStream<'_>,
    errors: &mut Errors,
    mut read: impl FnMut(&Ident, ParseStream<'_>, &mut Errors) -> Result<()>,
) {
    while !input.is_empty() {
        let result = key(input).and_then(|key| {
            read(&key, input, errors)?;
            match input.is_empty() || input.peek(Token![,]) {
                true => Ok(()),
                false if input.peek(Token![=]) || input.peek(token::Paren) => {
                    Err(syn::Error::new(key.span(), format_args!("`{key}` takes no value")))
                }
                false => Err(input.error("expected `,` between options")),
            }
        });
        if errors.ok(result).is_none() {
            skip_until(input, ',');
        }
        let _ = input.parse::<Token![,]>();
    }
}

/// Parses the name of an option.
fn key(input: ParseStream<'_>) -> Result<Ident> {
    let at = input.span();
    let form = |_| syn::Error::new(at, "an option begins with its name: `name = \"..\"`");
    input.call(Ident::parse_any).map_err(form)
}

/// Parses `= value`; `form` is the correct form of the option, for the error.
pub(crate) fn value<T: Parse>(key: &Ident, input: ParseStream<'_>, form: &str) -> Result<T> {
    equals(key, input, form)?;
    let at = input.span();
    let expected = |_| syn::Error::new(at, format_args!("`{key}` is written `{form}`"));
    input.parse().map_err(expected)
}

/// Parses the `=` before a value.
pub(crate) fn equals(key: &Ident, input: ParseStream<'_>, form: &str) -> Result<()> {
    let error = || syn::Error::new(key.span(), format_args!("`{key}` is written `{form}`"));
    if !input.peek(Token![=]) || input.peek(Token![==]) {
        return Err(error());
    }
    input.parse::<Token![=]>()?;
    // At the end of the input, the error would point at the macro's call.
    match input.is_empty() || input.peek(Token![,]) {
        true => Err(error()),
        false => Ok(()),
    }
}

/// Stores an option that may be given once.
pub(crate) fn once<T>(slot: &mut Option<T>, key: &Ident, value: T) -> Result<()> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(syn::Error::new(key.span(), format_args!("option `{key}` is given twice"))),
    }
}

/// Skips to the next `stop`, and not past it.
pub(crate) fn skip_until(input: ParseStream<'_>, stop: char) {
    while let Some((tree, _)) = input.cursor().token_tree() {
        if matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == stop) {
            return;
        }
        if input.parse::<TokenTree>().is_err() {
            return;
        }
    }
}
