//! `#[event]`: parses, then checks, then expands.

mod expand;
mod filter;
mod model;
mod push;
mod shape;
mod syntax;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Path;

use crate::diag::Errors;

/// Expands the attribute. `dialogue` is the path of the runtime, unless the options name another.
pub(crate) fn expand(options: TokenStream, item: TokenStream, dialogue: &Path) -> TokenStream {
    let mut errors = Errors::default();
    let options = syntax::Options::parse(options, &mut errors);
    let code = match syntax::Subject::parse(item.clone()) {
        Ok(subject) => match model::check(options, subject, dialogue, &mut errors) {
            Ok(event) => expand::items(&event),
            // The item is no event, but code that names it still resolves.
            Err(item) => item,
        },
        Err(error) => {
            errors.push(error);
            item
        }
    };
    quote!(#code #errors)
}
