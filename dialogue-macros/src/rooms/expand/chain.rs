//! The middleware of a room, and the chain in front of each event.

use proc_macro2::{Delimiter, Literal, TokenStream};
use quote::quote;
use syn::{Ident, Path};

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
        gated.push(self::gated(krate, ty, event, &chain));
    }
    let gates = events.iter().map(|event| {
        let path = &event.path;
        anchor(event.variant.span(), quote!(#krate::Gate::of::<#path>()))
    });
    let (with, make) = match slots.is_empty() {
        true => (quote!(()), TokenStream::new()),
        false => {
            let values = slots.iter().map(|entry| value(entry));
            (quote!(__With), quote!(__With(#(#values),*)))
        }
    };
    let store = (!slots.is_empty()).then(|| store(vis, &slots));
    quote! {
        #store
        #[automatically_derived]
        impl #krate::Served for #ty {
            type With = #with;
            const GATES: &'static [#krate::Gate<Self>] = &[#(#gates),*];
            fn with() -> #with { #make }
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

fn gated(krate: &Path, room: &Ident, event: &Event, chain: &[(usize, &Entry)]) -> TokenStream {
    let Event { path, variant, .. } = event;
    let mut value = quote!(());
    for (slot, entry) in chain.iter().rev() {
        let slot = Literal::usize_unsuffixed(*slot);
        value = group(Delimiter::Parenthesis, entry.span, quote!(&with.#slot, #value));
    }
    let head = implement(variant.span(), quote!(#krate::Gated<#room> for #path));
    // A chain that does not fit is told of where the first middleware was listed.
    let span = chain.first().map_or(variant.span(), |(_, entry)| entry.span);
    let returned = anchor(span, quote!(impl #krate::Chain<#room, #path>));
    let with = match chain.is_empty() {
        true => quote!(_),
        false => quote!(with),
    };
    let body = group(
        Delimiter::Brace,
        variant.span(),
        quote! {
            fn chain(#with: &<#room as #krate::Served>::With) -> #returned { #value }
        },
    );
    quote!(#head #body)
}
