//! The code of an event that passed all checks.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{
    Attribute, Data, DeriveInput, Fields, Ident, Member, Meta, Path, Token, punctuated::Punctuated,
    spanned::Spanned,
};

use super::{
    filter,
    model::{Class, Event, Validation},
    push::impl_push_event,
};
use crate::anchor::anchor;

pub(super) fn items(event: &Event) -> TokenStream {
    let Event { krate, item, name, class, shape, .. } = event;
    let DeriveInput { ident, .. } = item;
    let serde = quote!(#krate::__private::serde).to_string();
    let class = self::class(class, krate);
    let retention = event.retain.as_ref().map(|retain| {
        let retention = retain.expand(krate);
        quote! {
            const RETENTION: ::core::option::Option<#krate::room::Retention> =
                ::core::option::Option::Some(#retention);
        }
    });
    let sender = event.from_server.then(|| {
        quote! { const SENDER: #krate::event::Sender = #krate::event::Sender::Server; }
    });
    let is_object = is_object(item).then(|| {
        quote!(
            const IS_OBJECT: ::core::primitive::bool = true;
        )
    });
    let reads_back = reads_back(item, krate);
    let check = (event.validation != Validation::None).then(|| {
        let this = Ident::new("self", Span::call_site().located_at(ident.span()));
        quote! {
            fn check(&self) -> ::core::result::Result<(), ::std::vec::Vec<#krate::wire::Detail>> {
                #krate::__private::check(#this)
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
                #reads_back
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
                impl #krate::event::ClientEvent for #ident {}
            },
        )
    });
    let (derive, validate) = validate(event);
    let push = event.push.as_ref().map(|push| impl_push_event(ident, push, krate));
    let filtered = filter::implementation(krate, item, &event.filter);
    quote! {
        #[derive(#krate::__private::serde::Serialize, #krate::__private::serde::Deserialize)]
        #[serde(crate = #serde)]
        #derive
        #item

        #implementation
        #client
        #validate
        #filtered
        #push
    }
}

/// Returns the implementation of `Validate`: a derive if the event has rules, or else an impl without rules.
fn validate(event: &Event) -> (Option<TokenStream>, Option<TokenStream>) {
    let Event { krate, item: DeriveInput { ident, .. }, .. } = event;
    match event.validation {
        Validation::Derived => {
            let derive = quote! {
                #[derive(#krate::__private::Validate)]
                #[validate(crate = #krate)]
            };
            (Some(derive), None)
        }
        Validation::None => {
            let implementation = quote! {
                #[automatically_derived]
                impl #krate::Validate for #ident {
                    fn validate(&self, _: &mut #krate::validate::Violations) {}
                }
            };
            (None, Some(anchor(ident.span(), implementation)))
        }
        Validation::ByHand => (None, None),
    }
}

/// Returns whether serde reads the fields by their names. It then accepts an array too, which the server refuses.
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

/// Returns the constant `READS_BACK` if the field types decide it. An attribute of serde other than a rename may change
/// a field on its round trip; without the constant, the server tries each event.
fn reads_back(item: &DeriveInput, krate: &Path) -> Option<TokenStream> {
    let (variants, fields): (Vec<_>, Vec<_>) = match &item.data {
        Data::Struct(data) => (Vec::new(), data.fields.iter().collect()),
        Data::Enum(data) => (
            data.variants.iter().collect(),
            data.variants.iter().flat_map(|variant| &variant.fields).collect(),
        ),
        Data::Union(_) => return None,
    };
    let attributes = item.attrs.iter().chain(variants.iter().flat_map(|variant| &variant.attrs));
    if !attributes.chain(fields.iter().flat_map(|field| &field.attrs)).all(only_names) {
        return None;
    }
    let fields = fields.iter().map(|field| {
        let ty = &field.ty;
        let cfgs = field.attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
        quote!(#(#cfgs)* <#krate::__private::Field<#ty>>::READS_BACK)
    });
    Some(quote! {
        const READS_BACK: ::core::primitive::bool = {
            #[allow(unused_imports)]
            use #krate::__private::MayDiffer as _;
            #krate::__private::all(&[#(#fields),*])
        };
    })
}

/// Returns whether a serde attribute only renames, or sets a missing field to its default. A conditional attribute
/// counts as any attribute.
fn only_names(attr: &Attribute) -> bool {
    const NAMES: [&str; 6] =
        ["rename", "rename_all", "rename_all_fields", "alias", "default", "deny_unknown_fields"];
    let is_name =
        |meta: &Meta| !matches!(meta, Meta::List(_)) && NAMES.iter().any(|name| meta.path().is_ident(name));
    let parse = Punctuated::<Meta, Token![,]>::parse_terminated;
    if attr.path().is_ident("cfg_attr") {
        return false;
    }
    !attr.path().is_ident("serde") || attr.parse_args_with(parse).is_ok_and(|metas| metas.iter().all(is_name))
}

fn class(class: &Class, krate: &Path) -> TokenStream {
    let is = |name: &str| {
        let class = Ident::new(name, Span::call_site());
        quote!(const CLASS: #krate::event::DeliveryClass = #krate::event::DeliveryClass::#class;)
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

/// Returns the code of the conflation key, placed at the option that names the field: there rustc reports a field
/// without a text.
fn key(field: &Member, krate: &Path) -> TokenStream {
    let this = Ident::new("self", Span::call_site().located_at(field.span()));
    let argument = quote_spanned!(field.span()=> &#this.#field);
    quote!(#krate::__private::conflation_key(#argument))
}
