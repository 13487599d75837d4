//! The list of options in `#[event(…)]`, `#[room(…)]` and inside them.

use proc_macro2::TokenTree;
use syn::{
    Ident, Result, Token,
    ext::IdentExt,
    parse::{Parse, ParseStream},
    token,
};

use crate::diag::Errors;

/// Reads `key …, key …`; `read` takes what follows a key. An option that it can't read is skipped.
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

/// The name of an option.
fn key(input: ParseStream<'_>) -> Result<Ident> {
    let at = input.span();
    let form = |_| syn::Error::new(at, "an option begins with its name: `name = \"..\"`");
    input.call(Ident::parse_any).map_err(form)
}

/// `= value`; `form` is how the option is written.
pub(crate) fn value<T: Parse>(key: &Ident, input: ParseStream<'_>, form: &str) -> Result<T> {
    equals(key, input, form)?;
    let at = input.span();
    let expected = |_| syn::Error::new(at, format_args!("`{key}` is written `{form}`"));
    input.parse().map_err(expected)
}

/// The `=` before a value.
pub(crate) fn equals(key: &Ident, input: ParseStream<'_>, form: &str) -> Result<()> {
    let error = || syn::Error::new(key.span(), format_args!("`{key}` is written `{form}`"));
    if !input.peek(Token![=]) || input.peek(Token![==]) {
        return Err(error());
    }
    input.parse::<Token![=]>()?;
    // An error at the end would be one at the macro's call.
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

/// Goes on to the next `stop`, and not past it.
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
