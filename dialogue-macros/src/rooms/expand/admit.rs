//! The identities that an authenticator has to provide for an application's rooms.

use proc_macro2::TokenStream;
use quote::{ToTokens, format_ident, quote};
use syn::{Ident, Path, Type, spanned::Spanned};

use crate::{
    anchor::anchor,
    rooms::model::{App, Room},
};

pub(super) fn impls(app: &App) -> TokenStream {
    let App { krate, ident, rooms, .. } = app;
    if rooms.iter().all(|room| room.options.identity.is_none()) {
        return quote! {
            #[automatically_derived]
            impl<__I> #krate::__private::Admits<__I> for #ident {}
        };
    }
    let rows = rooms.iter().map(|room| row(krate, room));
    let asking = rooms.iter().filter_map(|room| Some((room, room.options.identity.as_ref()?)));
    let (mut bounds, mut traits) = (Vec::new(), Vec::new());
    for (room, identity) in asking {
        // An empty `for<>` is the beginning of the bound for rustc, which therefore marks the user's type.
        let bound = anchor(identity.span(), quote!(for<> #krate::identity::Provides<#identity>));
        if room.conditional() {
            let name = format_ident!("__{}", room.ty);
            traits.push(conditional(room, &name, &bound));
            bounds.push(name.to_token_stream());
        } else {
            bounds.push(bound);
        }
    }
    quote! {
        #[allow(unexpected_cfgs, deprecated)]
        const _: () = {
            #(#traits)*

            #[automatically_derived]
            impl<__I> #krate::__private::Admits<__I> for #ident where #(__I: #bounds),* {
                const REQUIRED_IDENTITIES: &'static [#krate::__private::IdentityRequirement] = &[#(#rows),*];
            }
        };
    }
}

fn row(krate: &Path, room: &Room) -> TokenStream {
    let cfgs = &room.cfgs;
    let row = match &room.options.identity {
        Some(identity) => {
            let name = spell(identity);
            quote!(#krate::__private::IdentityRequirement::of::<__I, #identity>(#name))
        }
        None => quote!(#krate::__private::IdentityRequirement::NONE),
    };
    quote!(#(#cfgs)* #row)
}

/// A bound can't have a `#[cfg]`, but a trait can: this one stands for the bound, or for none.
fn conditional(room: &Room, name: &Ident, bound: &TokenStream) -> TokenStream {
    let conditions = room.conditions();
    quote! {
        #[cfg(#conditions)]
        trait #name: #bound {}
        #[cfg(#conditions)]
        impl<__I: #bound> #name for __I {}
        #[cfg(not(#conditions))]
        trait #name {}
        #[cfg(not(#conditions))]
        impl<__I> #name for __I {}
    }
}

/// Returns the text of a type for an error, without its path.
fn spell(ty: &Type) -> String {
    let last = match ty {
        Type::Path(path) => path.path.segments.last().map(ToTokens::to_token_stream),
        _ => None,
    };
    last.unwrap_or_else(|| ty.to_token_stream()).to_string().replace(' ', "")
}
