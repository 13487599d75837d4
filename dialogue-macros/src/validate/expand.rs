//! The code of rules that passed all checks: one call for each.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::{Ident, Index, Member, Path, spanned::Spanned};

use super::model::{Bound, Field, Kind, Rule, Schema, Shape, Validation};

pub(super) fn implementation(validation: &Validation) -> TokenStream {
    let Validation { krate, ident, shapes, schemas, .. } = validation;
    let fields = match shapes.as_slice() {
        [shape @ Shape { variant: None, .. }] => calls(shape, krate, &|member, at| {
            let this = Ident::new("self", at);
            let member = match member.clone() {
                Member::Named(mut name) => {
                    name.set_span(at);
                    Member::Named(name)
                }
                Member::Unnamed(index) => Member::Unnamed(Index { span: at, ..index }),
            };
            quote_spanned!(at=> &#this.#member)
        }),
        shapes if shapes.iter().all(Shape::is_empty) => TokenStream::new(),
        shapes => {
            let arms = shapes.iter().map(|shape| arm(shape, krate));
            quote!(match *self { #(#arms)* })
        }
    };
    let before = schemas
        .iter()
        .any(|schema| schema.skip_on_field_errors)
        .then(|| quote!(let __before = #krate::validate::Violations::len(__found);));
    let schemas = schemas.iter().map(|schema| self::schema(schema, krate));
    let (generics, arguments, bounds) = validation.generics.split_for_impl();
    let nested = nested_types(validation).map(|ty| quote!(#ty: #krate::Validate,));
    let predicates = bounds.map(|bounds| {
        let predicates = bounds.predicates.iter();
        quote!(#(#predicates,)*)
    });
    quote! {
        #[automatically_derived]
        impl #generics #krate::Validate for #ident #arguments where #predicates #(#nested)* {
            fn validate(&self, __found: &mut #krate::validate::Violations) {
                #before
                #fields
                #(#schemas)*
            }
        }
    }
}

impl Shape {
    fn is_empty(&self) -> bool {
        self.fields.iter().all(|field| field.rules.is_empty())
    }
}

/// `Self::Said { text: ref __0, .. } => { .. }`
fn arm(shape: &Shape, krate: &Path) -> TokenStream {
    let variant = &shape.variant;
    let is_named = |field: &Field, other: &Field| {
        let names = |rule: &Rule| matches!(&rule.kind, Kind::MustMatch(member, _) if *member == field.member);
        other.rules.iter().any(names)
    };
    let used: Vec<(usize, &Field)> = shape
        .fields
        .iter()
        .enumerate()
        .filter(|(_, field)| {
            !field.rules.is_empty() || shape.fields.iter().any(|other| is_named(field, other))
        })
        .collect();
    let binding = |member: &Member, at: Span| {
        let index = shape.fields.iter().position(|field| field.member == *member).unwrap_or_default();
        Ident::new(&format!("__{index}"), at).into_token_stream()
    };
    let members = used.iter().map(|(_, field)| &field.member);
    let bindings = used.iter().map(|(_, field)| binding(&field.member, Span::call_site()));
    let calls = calls(shape, krate, &binding);
    quote!(Self::#variant { #(#members: ref #bindings,)* .. } => { #calls })
}

/// Returns one call for each rule; `value` makes a reference to a field.
fn calls(shape: &Shape, krate: &Path, value: &dyn Fn(&Member, Span) -> TokenStream) -> TokenStream {
    let rules = shape.fields.iter().flat_map(|field| field.rules.iter().map(move |rule| (field, rule)));
    rules.map(|(field, rule)| call(field, rule, krate, value)).collect()
}

fn call(
    field: &Field,
    rule: &Rule,
    krate: &Path,
    value: &dyn Fn(&Member, Span) -> TokenStream,
) -> TokenStream {
    let path = &field.path;
    let message = optional(rule.message.as_ref());
    let this = value(&field.member, located(&rule.name));
    let name = rule.name.to_string();
    let function =
        Ident::new(if let Kind::Plain(name) = rule.kind { name } else { &name }, Span::call_site());
    let function = quote!(#krate::__private::validate::#function);
    match &rule.kind {
        Kind::Length { min, max } => {
            let (min, max) = (optional(min.as_ref()), optional(max.as_ref()));
            quote!(#function(__found, #path, #message, #this, #min, #max);)
        }
        Kind::Range { lower, upper } => {
            let (lower, upper) = (bound(lower), bound(upper));
            quote!(#function(__found, #path, #message, #this, #lower, #upper);)
        }
        Kind::Pattern(pattern) => quote!(#function(__found, #path, #message, #this, #pattern);),
        Kind::MustMatch(member, name) => {
            let other = value(member, located(member));
            quote!(#function(__found, #path, #message, #this, #other, #name);)
        }
        Kind::Custom(own, 0) => {
            let verdict = called(own, &this);
            quote!(#function(__found, #path, #message, #verdict);)
        }
        Kind::Custom(own, options) => {
            let option = (0..*options).fold(this, |this, depth| match depth {
                0 => quote!(::core::option::Option::as_ref(#this)),
                _ => quote!(::core::option::Option::and_then(#this, ::core::option::Option::as_ref)),
            });
            let inner = Ident::new("__value", located(&rule.name));
            let verdict = called(own, &inner);
            let closure = quote_spanned!(located(own)=> |#inner| #verdict);
            quote! {
                #krate::__private::validate::custom_option(
                    __found,
                    #path,
                    #message,
                    ::core::option::Option::map(#option, #closure),
                );
            }
        }
        Kind::Nested => quote!(#function(__found, #path, #this);),
        Kind::Plain(_) => quote!(#function(__found, #path, #message, #this);),
    }
}

fn schema(schema: &Schema, krate: &Path) -> TokenStream {
    let Schema { function, message, .. } = schema;
    let message = optional(message.as_ref());
    let this = Ident::new("self", located(&schema.name));
    let verdict = called(function, &this);
    match schema.skip_on_field_errors {
        true => {
            let closure = quote_spanned!(located(function)=> || #verdict);
            quote!(#krate::__private::validate::schema(__found, __before, #message, #closure);)
        }
        false => quote!(#krate::__private::validate::custom(__found, "", #message, #verdict);),
    }
}

/// Returns a call of the user's function, placed where the function is named.
fn called(function: &Path, argument: &impl ToTokens) -> TokenStream {
    quote_spanned!(located(function)=> #function(#argument))
}

fn optional(value: Option<&impl ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote_spanned!(located(value)=> ::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn bound(bound: &Bound) -> TokenStream {
    match bound {
        Bound::Included(value) => quote_spanned!(located(value)=> ::core::ops::Bound::Included(#value)),
        Bound::Excluded(value) => quote_spanned!(located(value)=> ::core::ops::Bound::Excluded(#value)),
        Bound::Unbounded => quote!(::core::ops::Bound::Unbounded),
    }
}

/// Returns a span for generated tokens at the user's `tokens`, so that rustc reports a wrong type there.
fn located(tokens: &impl ToTokens) -> Span {
    Span::call_site().located_at(tokens.span())
}

/// Returns the types of `nested` fields that contain a type parameter of the item: the impl needs a bound for each. A
/// type that contains the item itself needs none, since its bound would refer to the impl without end.
fn nested_types(validation: &Validation) -> impl Iterator<Item = &syn::Type> {
    let fields = validation.shapes.iter().flat_map(|shape| &shape.fields);
    let is_nested = |field: &&Field| field.rules.iter().any(|rule| matches!(rule.kind, Kind::Nested));
    fields.filter(is_nested).map(|field| &field.ty).filter(|ty| {
        let names = |is_it: &dyn Fn(&Ident) -> bool| has_name(ty.to_token_stream(), is_it);
        names(&|name| validation.generics.type_params().any(|param| param.ident == *name))
            && !names(&|name| *name == validation.ident || name == "Self")
    })
}

fn has_name(tokens: TokenStream, is_it: &dyn Fn(&Ident) -> bool) -> bool {
    tokens.into_iter().any(|tree| match tree {
        TokenTree::Group(group) => has_name(group.stream(), is_it),
        TokenTree::Ident(ident) => is_it(&ident),
        _ => false,
    })
}
