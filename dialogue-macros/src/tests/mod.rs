//! Tests of whole expansions, from tokens to tokens.

mod fuzz;
mod recovery;
mod snapshot;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{File, Item, parse_quote};

use crate::rooms::{self, Sides};

const BOTH: Sides = Sides { server: true, client: true };

fn expand_rooms(body: &TokenStream, sides: Sides) -> TokenStream {
    rooms::expand(quote!((::dialogue) #body), sides)
}

fn expand_event(options: TokenStream, item: TokenStream) -> TokenStream {
    crate::event::expand(options, item, &parse_quote!(::dialogue))
}

fn expand_rules(item: TokenStream) -> TokenStream {
    crate::validate::expand(item, &parse_quote!(::dialogue))
}

/// Returns the texts of the errors in generated code.
fn errors(code: TokenStream) -> Vec<String> {
    let file: File = syn::parse2(code).expect("a file");
    let texts = file.items.into_iter().filter_map(|item| match item {
        Item::Macro(item) if item.mac.path.segments.last()?.ident == "compile_error" => {
            Some(item.mac.parse_body::<syn::LitStr>().expect("a text").value())
        }
        _ => None,
    });
    texts.collect()
}
