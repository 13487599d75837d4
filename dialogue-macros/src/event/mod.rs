//! `#[event]`: syntax, then model, then code.

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

/// `dialogue` is where the runtime is, unless the options say otherwise.
pub(crate) fn expand(options: TokenStream, item: TokenStream, dialogue: &Path) -> TokenStream {
    let mut errors = Errors::default();
    let options = syntax::Options::parse(options, &mut errors);
    let code = match syntax::Subject::parse(item.clone()) {
        Ok(subject) => match model::check(options, subject, dialogue, &mut errors) {
            Ok(event) => expand::items(&event),
            // No event, but code that names it still resolves.
            Err(item) => item,
        },
        Err(error) => {
            errors.push(error);
            item
        }
    };
    quote!(#code #errors)
}
