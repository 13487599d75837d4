//! The state of a room's instances.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Path, spanned::Spanned};

use crate::{anchor::anchor, rooms::model::Room};

pub(super) fn impls(krate: &Path, room: &Room) -> TokenStream {
    let Some(state) = &room.options.state else { return TokenStream::new() };
    let ty = &room.ty;
    // Placed at the user's type, where rustc reports one that can't be serialised.
    let state = anchor(state.span(), quote!(type State = #state;));
    quote! {
        #[automatically_derived]
        impl #krate::server::Stateful for #ty { #state }
    }
}
