//! `#[derive(Validate)]`: parses, then checks, then expands.

mod expand;
mod model;
mod serde;
mod syntax;

use proc_macro2::{TokenStream, TokenTree};
use quote::quote;
use syn::{Attribute, DeriveInput, Meta, Path};

use crate::diag::Errors;

/// Expands the derive. `dialogue` is the path of the runtime, unless `#[validate(crate = path)]` names another.
pub(crate) fn expand(item: TokenStream, dialogue: &Path) -> TokenStream {
    let mut errors = Errors::default();
    let item: Option<DeriveInput> = errors.ok(syn::parse2(item));
    let code = item.and_then(|item| {
        let validation = model::check(item, dialogue, &mut errors)?;
        Some(expand::implementation(&validation))
    });
    quote!(#code #errors)
}

/// Returns whether an attribute is, or may turn out to be, one of the derive.
pub(crate) fn is_rule(attribute: &Attribute) -> bool {
    let mentions = |meta: &Meta| match meta {
        Meta::List(list) => mentions_rule(list.tokens.clone()),
        _ => false,
    };
    attribute.path().is_ident("validate")
        || (attribute.path().is_ident("cfg_attr") && mentions(&attribute.meta))
}

fn mentions_rule(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|tree| matches!(&tree, TokenTree::Ident(ident) if ident == "validate"))
}
