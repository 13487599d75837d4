//! The typed client of an application, and of each room.

use proc_macro2::TokenStream;
use quote::quote;

use super::room_docs;
use crate::{
    anchor::anchor,
    rooms::model::{App, Room},
};

pub(super) fn items(app: &App) -> TokenStream {
    let App { krate, vis, ident, rooms, .. } = app;
    let client = app.client();
    let docs = format!("A client of [`{ident}`]'s rooms: a method for each, and what every client has.");
    let wrapper = anchor(ident.span(), quote!(#vis struct #client(#krate::Client);));
    let methods = rooms.iter().map(|room| method(app, room));
    quote! {
        #[doc = #docs]
        #[derive(::core::clone::Clone, ::core::fmt::Debug)]
        #[allow(dead_code)]
        #wrapper

        #[automatically_derived]
        impl ::core::convert::From<#krate::Client> for #client {
            fn from(client: #krate::Client) -> Self { Self(client) }
        }

        #[automatically_derived]
        impl ::core::ops::Deref for #client {
            type Target = #krate::Client;
            fn deref(&self) -> &#krate::Client { &self.0 }
        }

        #[allow(dead_code, deprecated, private_interfaces)]
        impl #client {
            /// Connects to the server at `url`, such as `ws://localhost:3000`; await it.
            #vis fn connect(url: impl ::core::convert::Into<::std::string::String>) -> #krate::client::Connect<Self> {
                #krate::__private::connect(::core::convert::Into::into(url))
            }

            #(#methods)*
        }
    }
}

/// `client.chat()`, `client.project(key)`
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
            #vis fn #ident(&self #(, key: #key)*) -> #krate::client::JoinRoom<#ty> {
                #krate::__private::room::<#ty>(&self.0, #value)
            }
        },
    );
    quote! {
        #(#cfgs)*
        #docs
        #method
    }
}

/// `ChatClient`
pub(super) fn alias(app: &App, room: &Room) -> TokenStream {
    let App { krate, vis, .. } = app;
    let Room { cfgs, ident, ty, .. } = room;
    let client = room.client();
    let docs = format!("A client's end of room [`{ty}`].");
    let alias = anchor(ident.span(), quote!(#vis type #client = #krate::RoomClient<#ty>;));
    quote! {
        #(#cfgs)*
        #[doc = #docs]
        #[allow(dead_code, deprecated)]
        #alias
    }
}
