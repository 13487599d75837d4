//! `rooms!`: parses, then checks, then expands.

mod chain;
mod expand;
mod model;
mod names;
mod options;
mod syntax;

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::{ParseStream, Parser};

use crate::diag::Errors;

/// The sides for which code is generated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides {
    pub(crate) server: bool,
    pub(crate) client: bool,
}

pub(crate) fn expand(input: TokenStream, sides: Sides) -> TokenStream {
    let mut errors = Errors::default();
    let parser = |input: ParseStream<'_>| syntax::Rooms::parse(input, &mut errors);
    let rooms = match parser.parse2(input) {
        Ok(rooms) => rooms,
        Err(error) => {
            // Of all errors, the first is the most telling.
            errors.push(error);
            return quote!(#errors);
        }
    };
    let app = model::check(rooms, sides, &mut errors);
    let items = expand::items(&app, sides);
    quote!(#items #errors)
}
