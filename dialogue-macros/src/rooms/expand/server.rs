//! The application, and the typed handle of its server.

use proc_macro2::TokenStream;
use quote::quote;

use super::room_docs;
use crate::{
    anchor::anchor,
    rooms::model::{App, Room},
};

pub(super) fn items(app: &App) -> TokenStream {
    let App { krate, vis, ident, rooms, .. } = app;
    let server = app.server();
    let docs =
        format!("A running server of [`{ident}`]'s rooms: a method for each, and what every server has.");
    let build = format!("Builds a server of [`{ident}`]'s rooms.");
    let wrapper = anchor(ident.span(), quote!(#vis struct #server(#krate::Server);));
    let methods = rooms.iter().map(|room| method(app, room));
    quote! {
        impl #ident {
            #[doc = #build]
            #[allow(dead_code)]
            #vis fn server() -> #krate::server::ServerBuilder<Self> { #krate::__private::server() }
        }

        #[automatically_derived]
        #[allow(deprecated)]
        impl #krate::server::Application for #ident {
            type Server = #server;
        }

        #[doc = #docs]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #wrapper

        #[automatically_derived]
        impl ::core::convert::From<#krate::Server> for #server {
            fn from(server: #krate::Server) -> Self { Self(server) }
        }

        #[automatically_derived]
        impl ::core::ops::Deref for #server {
            type Target = #krate::Server;
            fn deref(&self) -> &#krate::Server { &self.0 }
        }

        #[allow(dead_code, deprecated, private_interfaces)]
        impl #server { #(#methods)* }
    }
}

/// `server.chat()`, `server.project(key)`
fn method(app: &App, room: &Room) -> TokenStream {
    let App { krate, vis, .. } = app;
    let Room { cfgs, ident, ty, .. } = room;
    let docs = room_docs(room);
    let key = room.key.iter();
    let value = match room.key {
        Some(_) => quote!(key),
        None => quote!(#krate::room::Unkeyed),
    };
    let method = anchor(
        ident.span(),
        quote! {
            #vis fn #ident(&self #(, key: #key)*) -> #krate::RoomHandle<#ty> {
                #krate::__private::handle::<#ty>(&self.0, #value)
            }
        },
    );
    quote! {
        #(#cfgs)*
        #docs
        #method
    }
}
