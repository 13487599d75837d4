//! The state that instances of a room have of their own.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Path, spanned::Spanned};

use crate::{anchor::anchor, rooms::model::Room};

pub(super) fn impls(krate: &Path, room: &Room) -> TokenStream {
    let Some(state) = &room.options.state else { return TokenStream::new() };
    let ty = &room.ty;
    // At the user's type, so that one which can't be saved is told of there.
    let state = anchor(state.span(), quote!(type State = #state;));
    quote! {
        #[automatically_derived]
        impl #krate::Stateful for #ty { #state }
    }
}
