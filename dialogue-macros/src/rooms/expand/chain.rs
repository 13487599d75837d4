//! The middleware of a room, and the middleware stack of each event.

use proc_macro2::{Delimiter, Ident, Literal, TokenStream};
use quote::{format_ident, quote};
use syn::{Path, spanned::Spanned};

use crate::{
    anchor::{anchor, group},
    rooms::{
        chain::{Entry, Form},
        model::{App, Event, Room},
    },
};

pub(super) fn impls(app: &App, room: &Room) -> TokenStream {
    let App { krate, vis, .. } = app;
    let Room { ty, events, .. } = room;
    let slots = slots(room);
    let ingests = events.iter().map(|event| {
        let path = &event.path;
        anchor(event.variant.span(), quote!(#krate::__private::EventIngest::<Self, __L>::of::<#path>()))
    });
    let passed = events.iter().map(|event| {
        let path = &event.path;
        quote!(#krate::middleware::MiddlewareStack<#ty, #path>)
    });
    let identity = match &room.options.identity {
        Some(identity) => anchor(identity.span(), quote!(type Identity = #identity;)),
        None => quote!(type Identity = #krate::__private::NoIdentity;),
    };
    let (type_with, store) = match slots.is_empty() {
        true => (quote!(()), None),
        false => (quote!(__With), Some(store(vis, &slots))),
    };
    let functions = slots.iter().map(|slot| slot.function(krate, room));
    let from_state = from_state(krate, room, &slots);
    quote! {
        #store
        #(#functions)*
        #[automatically_derived]
        impl #krate::room::ServerRoom for #ty {
            type Middleware = #type_with;
            #identity
        }
        #from_state
        #[automatically_derived]
        impl<__L: ::core::marker::Send + ::core::marker::Sync + 'static> #krate::__private::RoomIngest<__L> for #ty
        where
            #(__L: #passed),*
        {
            const EVENT_INGESTS: &'static [#krate::__private::EventIngest<Self, __L>] = &[#(#ingests),*];
        }
    }
}

/// Returns the entries of a room's `with [..]`, and then those of each event.
fn slots(room: &Room) -> Vec<Slot<'_>> {
    let all = room.with.iter().map(|entry| (entry, &*room.events));
    let own = room
        .events
        .iter()
        .flat_map(|event| event.with.iter().map(move |entry| (entry, std::slice::from_ref(event))));
    let slot = |(index, (entry, events))| Slot { index, entry, events };
    all.chain(own).enumerate().map(slot).collect()
}

/// An entry of a `with [..]`.
struct Slot<'a> {
    index: usize,
    entry: &'a Entry,
    /// The events to which it applies.
    events: &'a [Event],
}

impl Slot<'_> {
    fn ty(&self) -> TokenStream {
        match self.entry.ty() {
            Some(ty) => quote!(#ty),
            None => {
                let name = self.name();
                quote!(#name)
            }
        }
    }

    /// Of the type that stands for a function.
    fn name(&self) -> Ident {
        format_ident!("__Function{}", self.index)
    }

    fn value(&self, krate: &Path) -> TokenStream {
        match &self.entry.form {
            Form::Call(_, call) => quote!(#call),
            Form::Type(ty) => anchor(
                self.entry.span,
                quote!(<#ty as #krate::middleware::FromState<__S>>::from_state(__state)),
            ),
            Form::Function(_) | Form::Closure(_) => {
                let name = self.name();
                quote!(#name)
            }
        }
    }

    /// Returns the type that stands for a function, as middleware of each event to which it applies.
    fn function(&self, krate: &Path, room: &Room) -> Option<TokenStream> {
        let (name, room) = (self.name(), &room.ty);
        // rustc marks the inferred type if it doesn't fit.
        let at = Ident::new("_", self.entry.span);
        let call = |event: &Path| match &self.entry.form {
            Form::Type(_) | Form::Call(..) => None,
            Form::Function(path) => {
                Some(quote!(call_function::<#room, #event, _, #at, _, _>(#path, __cx, __event, __next)))
            }
            Form::Closure(closure) => Some(
                quote!(call_closure::<#room, #event, _, #at, #at, _, _>(#closure, __cx, __event, __next)),
            ),
        };
        let events = self.events.iter().map(|event| &event.path);
        let impls = events.filter_map(|event| {
            let call = call(event)?;
            Some(quote! {
                #[automatically_derived]
                impl #krate::Middleware<#room, #event> for #name {
                    async fn handle(
                        &self,
                        __cx: &#krate::Cx<#room>,
                        __event: #event,
                        __next: impl #krate::Next<#room, #event>,
                    ) -> #krate::Flow {
                        #krate::__private::#call.await
                    }
                }
            })
        });
        self.entry.ty().is_none().then(|| quote!(struct #name; #(#impls)*))
    }
}

/// Returns the code that makes the middleware. A type that can't be made is reported where it is listed.
fn from_state(krate: &Path, room: &Room, slots: &[Slot<'_>]) -> TokenStream {
    let ty = &room.ty;
    if slots.is_empty() {
        return quote! {
            #[automatically_derived]
            impl<__S> #krate::__private::MiddlewareFromState<__S> for #ty {
                fn middleware_from_state(_: &__S) {}
            }
        };
    }
    let bounds = slots.iter().filter_map(|slot| match &slot.entry.form {
        Form::Type(ty) => {
            // An empty `for<>` is the beginning of the bound for rustc, which therefore marks the user's type.
            let bound = anchor(slot.entry.span, quote!(for<> #krate::middleware::FromState<__S>));
            Some(quote!(#ty: #bound))
        }
        _ => None,
    });
    let values = slots.iter().map(|slot| slot.value(krate));
    quote! {
        #[automatically_derived]
        impl<__S> #krate::__private::MiddlewareFromState<__S> for #ty
        where
            #(#bounds),*
        {
            #[allow(unused_variables)]
            fn middleware_from_state(__state: &__S) -> __With { __With(#(#values),*) }
        }
    }
}

/// Returns a type with private fields that holds the middleware, so that middleware may be less visible than the room.
fn store(vis: &syn::Visibility, slots: &[Slot<'_>]) -> TokenStream {
    let types = slots.iter().map(Slot::ty);
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

/// Returns, for each event, the method that makes its middleware stack.
pub(super) fn methods(krate: &Path, room: &Room) -> Vec<TokenStream> {
    let mut own = room.with.len();
    let chain = |event: &Event| {
        let with = &event.with;
        let chain: Vec<(usize, &Entry)> = room.with.iter().enumerate().chain((own..).zip(with)).collect();
        own += with.len();
        method(krate, room, event, &chain)
    };
    room.events.iter().map(chain).collect()
}

fn method(krate: &Path, room: &Room, event: &Event, chain: &[(usize, &Entry)]) -> TokenStream {
    // A stack that doesn't fit is reported where it is listed: at the room, or else at the event.
    let span = if room.with.is_empty() { event.with_span } else { room.with_span };
    let room = &room.ty;
    let with = quote!(<#room as #krate::room::ServerRoom>::Middleware);
    match chain.is_empty() {
        // The type is written out: nearly every event has no middleware, and an opaque type for each costs compile
        // time.
        true => quote! {
            #[allow(refining_impl_trait)]
            fn middleware_stack(_: &#with) {}
        },
        false => {
            let returned = anchor(span, quote!(impl #krate::middleware::MiddlewareStack<#room, Self>));
            let links = links(chain);
            quote!(fn middleware_stack(with: &#with) -> #returned { #links })
        }
    }
}

/// Returns nested pairs: `(&with.0, (&with.1, ()))`.
fn links(chain: &[(usize, &Entry)]) -> TokenStream {
    chain.iter().rev().fold(quote!(()), |rest, (slot, entry)| {
        let slot = Literal::usize_unsuffixed(*slot);
        group(Delimiter::Parenthesis, entry.span, quote!(&with.#slot, #rest))
    })
}
