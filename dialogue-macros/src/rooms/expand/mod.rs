//! Code for rooms that passed the checks: rows and types that point into the runtime, never logic.

mod admit;
mod chain;
mod client;
mod event;
mod room;
mod serve;
mod server;
mod state;

use proc_macro2::TokenStream;
use quote::quote;
use syn::Attribute;

use super::{
    Sides,
    model::{App, Room},
};
use crate::anchor::anchor;

pub(super) fn items(app: &App, sides: Sides) -> TokenStream {
    let marker = marker(app);
    let server = sides.server.then(|| server::items(app));
    let admit = sides.server.then(|| admit::impls(app));
    let serve = sides.server.then(|| serve::impls(app));
    let client = sides.client.then(|| client::items(app));
    let rooms = app.rooms.iter().map(|room| {
        let types = room::types(app, room);
        let event = event::types(app, room);
        let alias = sides.client.then(|| client::alias(app, room));
        let cfgs = &room.cfgs;
        let chains = match sides.server {
            true => chain::methods(&app.krate, room),
            false => Vec::new(),
        };
        let impls = [room::impls(&app.krate, room), event::impls(&app.krate, room, &chains)];
        let chain = sides.server.then(|| chain::impls(app, room));
        let state = sides.server.then(|| state::impls(&app.krate, room));
        quote! {
            #types
            #event
            #alias

            // The code is in a module of its own, so that it neither names nor shadows anything around it.
            #(#cfgs)*
            #[allow(unexpected_cfgs, deprecated)]
            const _: () = {
                #(#impls)*
                #chain
                #state
            };
        }
    });
    quote!(#marker #server #admit #serve #client #(#rooms)*)
}

fn marker(app: &App) -> TokenStream {
    let App { attrs, vis, ident, .. } = app;
    let docs =
        docs(attrs.iter().filter(|attr| attr.path().is_ident("doc")), "The rooms of this application.");
    let others = attrs.iter().filter(|attr| !attr.path().is_ident("doc"));
    let marker = anchor(ident.span(), quote!(#vis struct #ident;));
    quote! {
        #docs
        #(#others)*
        #[derive(::core::fmt::Debug, ::core::clone::Clone, ::core::marker::Copy)]
        #[allow(dead_code)]
        #marker
    }
}

/// Returns the written doc comment, or else `default`.
fn docs<'a>(written: impl Iterator<Item = &'a Attribute>, default: &str) -> TokenStream {
    let written: Vec<_> = written.collect();
    match written.is_empty() {
        true => quote!(#[doc = #default]),
        false => quote!(#(#written)*),
    }
}

/// Returns the doc comment of the methods that lead to a room.
fn room_docs(room: &Room) -> TokenStream {
    docs(room.docs.iter(), &format!("The room `{}`.", room.name))
}
