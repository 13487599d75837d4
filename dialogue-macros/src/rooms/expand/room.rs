//! The type of a room, and its impl of `Room`.

use proc_macro2::{Literal, Span, TokenStream};
use quote::quote;
use syn::{Ident, Path, spanned::Spanned};

use super::room_docs;
use crate::{
    anchor::{anchor, implement},
    quantity,
    rooms::{
        model::{App, Channel, Room, spell},
        options::Limit,
    },
};

pub(super) fn types(app: &App, room: &Room) -> TokenStream {
    let Room { cfgs, attrs, ident, ty, .. } = room;
    let vis = &app.vis;
    let docs = room_docs(room);
    let marker = anchor(ident.span(), quote!(#vis struct #ty;));
    quote! {
        #(#cfgs)*
        #docs
        #(#attrs)*
        #[derive(::core::fmt::Debug, ::core::clone::Clone, ::core::marker::Copy)]
        #marker
    }
}

pub(super) fn impls(krate: &Path, room: &Room) -> TokenStream {
    let Room { ident, ty, name, events, .. } = room;
    let event = room.event();
    let options = options(krate, room);
    let key = match &room.key {
        Some(key) => anchor(key.span(), quote!(type Key = #key;)),
        None => quote!(type Key = #krate::room::Unkeyed;),
    };
    let types = room.channels.iter().map(|(word, channel)| Ident::new(channel.ty(), word.span()));
    let channels = types.clone().map(|channel| quote!(#krate::room::Channel::#channel));
    let row = Ident::new(if room.pushes() { "pushed" } else { "of" }, Span::call_site());
    let carried = events.iter().map(|event| {
        let path = &event.path;
        anchor(event.variant.span(), quote!(#krate::room::Carried::<Self>::#row::<#path>()))
    });
    let room_impl = implement(ident.span(), quote!(#krate::Room for #ty));
    let two_way = room.two_way.then(|| quote!(#[automatically_derived] impl #krate::room::TwoWay for #ty {}));
    let words = &room.words;
    let unique = unique(krate, room);
    let streamable = streamable(krate, room);
    quote! {
        #room_impl {
            const NAME: &'static ::core::primitive::str = #name;
            const OPTIONS: #krate::room::RoomOptions = #options;
            const CHANNELS: &'static [#krate::room::Channel] = &[#(#channels),*];
            const EVENTS: &'static [#krate::room::Carried<Self>] = &[#(#carried),*];
            #key
            type Event = #event;
        }
        #(#[automatically_derived] impl #krate::room::Via<#krate::room::channel::#types> for #ty {})*
        #two_way
        #[cfg(rust_analyzer)]
        const _: () = { #(let _ = #krate::__private::via::#words;)* };
        #unique
        #streamable
    }
}

/// Returns `RoomOptions::new()` and a call for each option.
fn options(krate: &Path, room: &Room) -> TokenStream {
    let title = room.options.name.iter();
    let description = room.description.iter();
    let capacity = room.options.capacity.iter().map(|at| Literal::u64_unsuffixed(at.value));
    let sync = room.options.sync.iter().map(|at| Literal::u64_unsuffixed(at.value));
    let retain = room.options.retain.iter().map(|retain| retain.expand(krate));
    let subscribe = room.subscribe.iter().map(|paths| quote!(&[#(<#paths as #krate::Event>::NAME),*]));
    let presence = room.options.presence.iter().map(|grace| quantity::expand(*grace));
    let role = room.options.role.iter();
    let wait = room.options.wait.iter().map(|wait| quantity::expand(*wait));
    let audit = room.options.audit.map(|()| quote!(.audit()));
    let state = room.options.state.as_ref().map(|_| quote!(.state()));
    let limit = room.options.limit.iter().map(|limit| rate(krate, limit));
    quote! {
        #krate::room::RoomOptions::new()
            #(.title(#title))*
            #(.description(#description))*
            #(.capacity(#capacity))*
            #(.retain(#retain))*
            #(.sync(#sync))*
            #(.subscribe(#subscribe))*
            #(.presence(#presence))*
            #(.role(#role))*
            #audit
            #(.wait(#wait))*
            #state
            #(.limit(#limit))*
    }
}

fn rate(krate: &Path, limit: &Limit) -> TokenStream {
    let count = Literal::u64_unsuffixed(limit.count);
    let per = quantity::expand(limit.per);
    let burst = limit.burst.iter().map(|burst| Literal::u64_unsuffixed(*burst));
    quote!(#krate::Rate::new(#count, #per) #(.burst(#burst))*)
}

/// Returns a constant assertion: in browsers, an event named `error` or `open` would fire the listeners for the
/// connection's own events. The names are known only with the types, so that rustc checks it, at the event.
fn streamable(krate: &Path, room: &Room) -> TokenStream {
    if !room.channels.iter().any(|(_, channel)| *channel == Channel::Sse) {
        return TokenStream::new();
    }
    let ty = &room.ty;
    let names = room.events.iter().enumerate().map(|(index, event)| {
        let message = format!(
            "room `{}` is served over `sse`, where browsers take an event named `error` or `open` for the connection's own; \
             give `{}` another name: `#[dialogue::event(name = \"..\")]`",
            room.ident,
            spell(&event.path),
        );
        let index = Literal::usize_unsuffixed(index);
        anchor(event.variant.span(), quote! {
            const _: () = (#krate::__private::assert_streamable::<#ty>)(#index, #message);
        })
    });
    quote!(#(#names)*)
}

/// Returns a constant assertion that wire names are unique. They are known only with the types, so that rustc checks
/// it, at the second event.
fn unique(krate: &Path, room: &Room) -> TokenStream {
    let ty = &room.ty;
    let names = room.events.iter().enumerate().skip(1).map(|(index, event)| {
        let message = format!(
            "`{}` has the wire name of an event before it in room `{}`; give one another: `#[dialogue::event(name = \"..\")]`",
            spell(&event.path),
            room.ident,
        );
        let index = Literal::usize_unsuffixed(index);
        anchor(event.variant.span(), quote! {
            const _: () = (#krate::__private::assert_unique::<#ty>)(#index, #message);
        })
    });
    quote!(#(#names)*)
}
