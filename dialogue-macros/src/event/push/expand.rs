//! The `Notification` that `push(…)` stands for.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Member, Path};

use super::Push;
use crate::{anchor::anchor, quantity};

pub(in crate::event) fn notification(event: &Ident, push: &Push, krate: &Path) -> TokenStream {
    let parts = &push.parts;
    let text = |name: &str| {
        let found = parts.texts.iter().find(|(key, _)| key == name);
        found.map(|(_, text)| text.expand(krate))
    };
    let required =
        ["title", "body"].map(|name| text(name).unwrap_or_else(|| quote!(::std::string::String::new())));
    let optional = ["icon", "url"].into_iter().filter_map(|name| {
        let (method, text) = (Ident::new(name, Span::call_site()), text(name)?);
        Some(quote!(.#method(#text)))
    });
    let urgency = parts.urgency.iter().map(|urgency| quote!(.urgency(#krate::Urgency::#urgency)));
    let ttl = parts.ttl.iter().map(|ttl| {
        let ttl = quantity::expand(ttl.value);
        quote!(.ttl(#ttl))
    });
    let collapse = parts.collapse.iter().map(|field| {
        let field = of_self(field);
        quote! {
            fn collapse(&self) -> ::core::option::Option<::std::string::String> {
                ::core::option::Option::Some(#krate::__private::collapse_key(#field))
            }
        }
    });
    let data = parts.data.iter().map(|field| {
        let data = field.as_ref().map_or_else(|| quote!(self), of_self);
        quote!(.data(#data))
    });
    let after = parts.after.iter().map(|after| {
        let after = quantity::expand(after.value);
        quote!(const AFTER: ::core::time::Duration = #after;)
    });
    let always =
        parts.always.then(|| quote!(const AUDIENCE: #krate::Audience = #krate::Audience::Everybody;));
    anchor(
        push.span,
        quote! {
            #[automatically_derived]
            impl #krate::Notification for #event {
                #(#after)*
                #always
                #(#collapse)*
                fn notice(&self, _: &#krate::Recipient<'_>) -> ::core::option::Option<#krate::Notice> {
                    ::core::option::Option::Some(
                        #krate::Notice::new(#(#required),*) #(#optional)* #(#urgency)* #(#ttl)* #(#data)*
                    )
                }
            }
        },
    )
}

/// A field that doesn't fit is told of at the option that names it.
fn of_self(field: &Member) -> TokenStream {
    let span = syn::spanned::Spanned::span(field);
    let this = Ident::new("self", Span::call_site().located_at(span));
    quote_spanned!(span=> &#this.#field)
}
