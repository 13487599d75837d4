//! The bounds of an application on the server's state and middleware.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use crate::rooms::model::{App, Room};

pub(super) fn impls(app: &App) -> TokenStream {
    let App { krate, ident, rooms, .. } = app;
    let (mut traits, mut bounds, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    for (index, room) in rooms.iter().enumerate() {
        let ty = &room.ty;
        if room.conditional() {
            // Rooms whose `#[cfg]`s exclude each other may have the same name.
            let name = format_ident!("__{ty}{index}");
            traits.push(conditional(app, room, &name));
            bounds.push(quote!(#ident: #name<__S, __L>));
            rows.push(quote!(<#ident as #name<__S, __L>>::ROWS));
        } else {
            bounds.push(
                quote!(#ty: #krate::__private::MiddlewareFromState<__S> + #krate::__private::RoomIngest<__L>),
            );
            rows.push(quote!(&[#krate::__private::Declared::of::<#ty>()]));
        }
    }
    let generics = generics();
    quote! {
        #[allow(unexpected_cfgs, deprecated)]
        const _: () = {
            #(#traits)*

            #[automatically_derived]
            impl<#generics> #krate::__private::Serves<__S, __L> for #ident
            where
                #(#bounds),*
            {
                const ROOMS: &'static [&'static [#krate::__private::Declared<__S, __L>]] = &[#(#rows),*];
            }
        };
    }
}

fn generics() -> TokenStream {
    quote!(__S: 'static, __L: ::core::marker::Send + ::core::marker::Sync + 'static)
}

/// A bound can't have a `#[cfg]`, but a trait can: this one requires what the room requires, or nothing.
fn conditional(app: &App, room: &Room, name: &Ident) -> TokenStream {
    let App { krate, ident, .. } = app;
    let ty = &room.ty;
    let conditions = room.conditions();
    let generics = generics();
    quote! {
        trait #name<#generics> {
            const ROWS: &'static [#krate::__private::Declared<__S, __L>];
        }
        #[cfg(#conditions)]
        impl<#generics> #name<__S, __L> for #ident
        where
            #ty: #krate::__private::MiddlewareFromState<__S> + #krate::__private::RoomIngest<__L>,
        {
            const ROWS: &'static [#krate::__private::Declared<__S, __L>] = &[#krate::__private::Declared::of::<#ty>()];
        }
        #[cfg(not(#conditions))]
        impl<#generics> #name<__S, __L> for #ident {
            const ROWS: &'static [#krate::__private::Declared<__S, __L>] = &[];
        }
    }
}
