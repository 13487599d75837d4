//! Expands `push(…)` to an implementation of `PushEvent`.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Member, Path};

use super::PushOption;
use crate::{anchor::anchor, quantity};

pub(in crate::event) fn impl_push_event(event: &Ident, push: &PushOption, krate: &Path) -> TokenStream {
    let parts = &push.parts;
    let notification = quote!(#krate::notification);
    let text = |name: &str| {
        let template = parts.texts.iter().find(|(key, _)| key == name);
        template.map(|(_, text)| text.expand(krate))
    };
    let required =
        ["title", "body"].map(|name| text(name).unwrap_or_else(|| quote!(::std::string::String::new())));
    let optional = ["icon", "url"].into_iter().filter_map(|name| {
        let (method, text) = (Ident::new(name, Span::call_site()), text(name)?);
        Some(quote!(.#method(#text)))
    });
    let urgency = parts.urgency.iter().map(|urgency| quote!(.urgency(#notification::Urgency::#urgency)));
    let ttl = parts.ttl.iter().map(|ttl| {
        let ttl = quantity::expand(ttl.value);
        quote!(.ttl(#ttl))
    });
    let collapse = parts.collapse.iter().map(|field| {
        let field = field_of_self(field);
        quote! {
            fn collapse_key(&self) -> ::core::option::Option<::std::string::String> {
                ::core::option::Option::Some(#krate::__private::collapse_key(#field))
            }
        }
    });
    let data = parts.data.iter().map(|data| {
        let data = data.field().map_or_else(|| quote!(self), field_of_self);
        quote!(.data(#data))
    });
    let after = parts.after.iter().map(|after| {
        let after = quantity::expand(after.value);
        quote!(const AFTER: ::core::time::Duration = #after;)
    });
    let always =
        parts.always.then(|| quote!(const AUDIENCE: #notification::Audience = #notification::Audience::All;));
    anchor(
        push.span,
        quote! {
            #[automatically_derived]
            impl #notification::PushEvent for #event {
                #(#after)*
                #always
                #(#collapse)*
                fn notification(&self, _: &#notification::Recipient<'_>) -> ::core::option::Option<#notification::Notification> {
                    ::core::option::Option::Some(
                        #notification::Notification::new(#(#required),*) #(#optional)* #(#urgency)* #(#ttl)* #(#data)*
                    )
                }
            }
        },
    )
}

/// Returns `&self.field` with the span of the option that names the field, so that a type error is reported there.
fn field_of_self(field: &Member) -> TokenStream {
    let span = syn::spanned::Spanned::span(field);
    let this = Ident::new("self", Span::call_site().located_at(span));
    quote_spanned!(span=> &#this.#field)
}
