//! A room's events: their enum, and the impl of `EventOf` for each.

use proc_macro2::{Delimiter, Ident, TokenStream};
use quote::quote;
use syn::Path;

use crate::{
    anchor::{group, implement},
    rooms::model::{App, Event, Room, spell},
};

pub(super) fn types(app: &App, room: &Room) -> TokenStream {
    let Room { cfgs, ty, events, .. } = room;
    let vis = &app.vis;
    let event = room.event();
    let docs = format!("Any event of room [`{ty}`].");
    let variants = events.iter().map(|event| &event.variant);
    let paths = events.iter().map(|event| &event.path);
    let variant_docs = events.iter().map(|event| format!("A `{}`.", spell(&event.path)));
    // The empty `<>`: see `implement`.
    quote! {
        #(#cfgs)*
        #[doc = #docs]
        #[allow(dead_code, clippy::large_enum_variant)]
        #vis enum #event<> { #(#[doc = #variant_docs] #variants(#paths)),* }
    }
}

/// Returns the impls of `EventOf`. `chains` holds the method that makes the middleware stack of each event, if there is
/// a server.
pub(super) fn impls(krate: &Path, room: &Room, chains: &[TokenStream]) -> TokenStream {
    let Room { ty, events, .. } = room;
    let enumeration = room.event();
    let chains = chains.iter().map(Some).chain(std::iter::repeat(None));
    let event_of =
        events.iter().zip(chains).map(|(event, chain)| event_of(krate, ty, &enumeration, event, chain));
    let variants = events.iter().map(|event| &event.variant);
    let names = events.iter().map(|event| event.variant.to_string());
    quote! {
        #(#event_of)*

        #[automatically_derived]
        impl ::core::fmt::Debug for #enumeration {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match *self {
                    #(Self::#variants(ref event) => #krate::__private::debug::<#ty, _>(f, #names, event),)*
                }
            }
        }
    }
}

/// Returns an impl that is placed wholly at the user's path, so that rustc, which lists the existing impls, lists the
/// declared events.
fn event_of(
    krate: &Path,
    room: &Ident,
    enumeration: &Ident,
    event: &Event,
    chain: Option<&TokenStream>,
) -> TokenStream {
    let Event { path, variant, .. } = event;
    let head = implement(variant.span(), quote!(#krate::room::EventOf<#room> for #path));
    // The braces are placed there too: rustc marks an item from its first token to its last.
    let body = group(
        Delimiter::Brace,
        variant.span(),
        quote! {
            fn wrap(self) -> #enumeration { #enumeration::#variant(self) }
            #chain
        },
    );
    quote!(#head #body)
}
