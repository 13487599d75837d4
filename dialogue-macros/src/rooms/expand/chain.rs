//! The middleware of a room, and the chain in front of each event.

use proc_macro2::{Delimiter, Literal, TokenStream};
use quote::quote;
use syn::{Path, spanned::Spanned};

use crate::{
    anchor::{anchor, group, implement},
    rooms::{
        chain::Entry,
        model::{App, Event, Room},
    },
};

pub(super) fn impls(app: &App, room: &Room) -> TokenStream {
    let App { krate, vis, .. } = app;
    let Room { ty, events, .. } = room;
    let mut slots: Vec<&Entry> = room.with.iter().collect();
    let mut gated = Vec::with_capacity(events.len());
    for event in events {
        let own = slots.len();
        slots.extend(&event.with);
        let chain: Vec<(usize, &Entry)> =
            room.with.iter().enumerate().chain((own..).zip(&event.with)).collect();
        gated.push(self::gated(krate, room, event, &chain));
    }
    let gates = events.iter().map(|event| {
        let path = &event.path;
        anchor(event.variant.span(), quote!(#krate::Gate::of::<#path>()))
    });
    let with = match slots.is_empty() {
        true => quote! {
            type With = ();
            fn with() {}
        },
        false => {
            let values = slots.iter().map(|entry| value(entry));
            quote! {
                type With = __With;
                fn with() -> __With { __With(#(#values),*) }
            }
        }
    };
    let identity = match &room.options.identity {
        Some(identity) => anchor(identity.span(), quote!(type Identity = #identity;)),
        None => quote!(type Identity = #krate::Anybody;),
    };
    let store = (!slots.is_empty()).then(|| store(vis, &slots));
    quote! {
        #store
        #[automatically_derived]
        impl #krate::Served for #ty {
            #with
            #identity
            const GATES: &'static [#krate::Gate<Self>] = &[#(#gates),*];
        }
        #(#gated)*
    }
}

/// A type of its own, with private fields, so that middleware may be less visible than the room.
fn store(vis: &syn::Visibility, slots: &[&Entry]) -> TokenStream {
    let types = slots.iter().map(|entry| &entry.ty);
    quote! {
        #[doc(hidden)]
        #[allow(unnameable_types)]
        #vis struct __With(#(#types),*);

        #[automatically_derived]
        impl ::core::fmt::Debug for __With {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str("With")
            }
        }
    }
}

fn value(entry: &Entry) -> TokenStream {
    match &entry.make {
        Some(make) => quote!(#make),
        None => {
            let ty = &entry.ty;
            anchor(entry.span, quote!(<#ty as ::core::default::Default>::default()))
        }
    }
}

fn gated(krate: &Path, room: &Room, event: &Event, chain: &[(usize, &Entry)]) -> TokenStream {
    // A chain that does not fit is told of where it is listed: for the room, or else for the event.
    let span = if room.with.is_empty() { event.with_span } else { room.with_span };
    let room = &room.ty;
    let Event { path, variant, .. } = event;
    let head = implement(variant.span(), quote!(#krate::Gated<#room> for #path));
    let with = quote!(<#room as #krate::Served>::With);
    let method = match chain.is_empty() {
        // Its type outright: nearly every event is one of these, and an opaque type for each is dear.
        true => quote! {
            #[allow(refining_impl_trait)]
            fn chain(_: &#with) {}
        },
        false => {
            let returned = anchor(span, quote!(impl #krate::Chain<#room, Self>));
            let links = links(chain);
            quote!(fn chain(with: &#with) -> #returned { #links })
        }
    };
    let body = group(Delimiter::Brace, variant.span(), method);
    quote!(#head #body)
}

/// `(&with.0, (&with.1, ()))`
fn links(chain: &[(usize, &Entry)]) -> TokenStream {
    chain.iter().rev().fold(quote!(()), |rest, (slot, entry)| {
        let slot = Literal::usize_unsuffixed(*slot);
        group(Delimiter::Parenthesis, entry.span, quote!(&with.#slot, #rest))
    })
}
