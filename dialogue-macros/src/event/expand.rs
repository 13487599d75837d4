//! Code for an event that passed the checks.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Fields, Ident, Member, Path, spanned::Spanned};

use super::{
    filter,
    model::{Class, Event},
    push::notification,
};
use crate::anchor::anchor;

pub(super) fn items(event: &Event) -> TokenStream {
    let Event { krate, item, name, class, shape, .. } = event;
    let DeriveInput { ident, .. } = item;
    let serde = quote!(#krate::__private::serde).to_string();
    let validator = event.rules.as_ref().map(|_| {
        quote! {
            #[derive(#krate::__private::validator::Validate)]
            #[validate(crate = #krate::__private::validator)]
        }
    });
    let class = self::class(class, krate);
    let retention = event.retain.as_ref().map(|retain| {
        let retention = retain.expand(krate);
        quote! {
            const RETENTION: ::core::option::Option<#krate::Retention> =
                ::core::option::Option::Some(#retention);
        }
    });
    let sender = event.from_server.then(|| {
        quote! { const SENDER: #krate::Sender = #krate::Sender::Server; }
    });
    let is_object = is_object(item).then(|| {
        quote!(
            const IS_OBJECT: ::core::primitive::bool = true;
        )
    });
    let check = event.rules.as_ref().map(|names| {
        let names = names.iter().map(|(rust, wire)| quote!((#rust, #wire)));
        quote! {
            fn check(&self) -> ::core::result::Result<(), ::std::vec::Vec<#krate::Detail>> {
                #krate::__private::check(self, &[#(#names),*])
            }
        }
    });
    let implementation = anchor(
        ident.span(),
        quote! {
            #[automatically_derived]
            impl #krate::Event for #ident {
                const NAME: &'static ::core::primitive::str = #name;
                #sender
                const SHAPE: &'static ::core::primitive::str = #shape;
                #is_object
                #class
                #retention
                #check
            }
        },
    );
    let client = (!event.from_server).then(|| {
        anchor(
            ident.span(),
            quote! {
                #[automatically_derived]
                impl #krate::ClientEvent for #ident {}
            },
        )
    });
    let push = event.push.as_ref().map(|push| notification(ident, push, krate));
    let filtered = filter::implementation(krate, item, &event.filter);
    quote! {
        #[derive(#krate::__private::serde::Serialize, #krate::__private::serde::Deserialize)]
        #[serde(crate = #serde)]
        #validator
        #item

        #implementation
        #client
        #filtered
        #push
    }
}

/// Whether serde reads the fields by their names; it would read them from an array too.
fn is_object(item: &DeriveInput) -> bool {
    let named = matches!(&item.data, Data::Struct(data) if matches!(data.fields, Fields::Named(_)));
    let other = |attr: &Attribute| {
        let mut words = attr.meta.to_token_stream().into_iter().flat_map(|tree| match tree {
            TokenTree::Group(group) => group.stream(),
            tree => tree.into(),
        });
        attr.path().is_ident("serde")
            && words.any(|word| {
                matches!(&word, TokenTree::Ident(word) if word == "transparent" || word == "from" || word == "try_from")
            })
    };
    named && !item.attrs.iter().any(other)
}

fn class(class: &Class, krate: &Path) -> TokenStream {
    let is = |name: &str| {
        let class = Ident::new(name, Span::call_site());
        quote!(const CLASS: #krate::DeliveryClass = #krate::DeliveryClass::#class;)
    };
    match class {
        Class::Durable => TokenStream::new(),
        Class::Ephemeral => is("Ephemeral"),
        Class::Latest(field) => {
            let class = is("Latest");
            let key = key(field, krate);
            quote! {
                #class
                fn conflation_key(&self) -> ::core::option::Option<::std::string::String> {
                    ::core::option::Option::Some(#key)
                }
            }
        }
    }
}

/// A field that has no text is told of at the option that names it.
fn key(field: &Member, krate: &Path) -> TokenStream {
    let this = Ident::new("self", Span::call_site().located_at(field.span()));
    let argument = quote_spanned!(field.span()=> &#this.#field);
    quote!(#krate::__private::conflation_key(#argument))
}
