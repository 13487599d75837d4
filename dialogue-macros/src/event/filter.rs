//! `#[filter]`: marks the text of an event that filters read.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Attribute, Data, DeriveInput, Field, Fields, Ident, Member, Meta, Path, Type, spanned::Spanned};

use super::syntax::Subject;
use crate::{
    anchor::anchor,
    diag::{self, Errors},
};

/// The marked fields of an event.
pub(super) struct Filter {
    /// True if a field is marked, or no field has text.
    pub(super) is_marked: bool,
    /// The shape of a struct, or one for each variant of an enum.
    shapes: Vec<Shape>,
}

struct Shape {
    variant: Option<Ident>,
    texts: Vec<(Member, Span)>,
}

/// Types without text, as they are usually written.
const PLAIN: &[&str] = &[
    "bool", "u8", "u16", "u32", "u64", "u128", "usize", "i8", "i16", "i32", "i64", "i128", "isize", "f32",
    "f64",
];

impl Filter {
    /// Parses the marks, and removes them from the item.
    pub(super) fn take(subject: &mut Subject, errors: &mut Errors) -> Filter {
        let mut filter = Filter { is_marked: false, shapes: Vec::new() };
        let mut plain = true;
        misplaced(&mut subject.item.attrs, errors);
        match &mut subject.item.data {
            Data::Struct(data) => filter.shape(None, &mut data.fields, &mut plain, errors),
            Data::Enum(data) => {
                for variant in &mut data.variants {
                    misplaced(&mut variant.attrs, errors);
                    let ident = Some(variant.ident.clone());
                    filter.shape(ident, &mut variant.fields, &mut plain, errors);
                }
            }
            Data::Union(_) => {}
        }
        filter.is_marked |= plain;
        filter
    }

    fn shape(&mut self, variant: Option<Ident>, fields: &mut Fields, plain: &mut bool, errors: &mut Errors) {
        let members: Vec<Member> = fields.members().collect();
        let mut texts = Vec::new();
        for (member, field) in members.into_iter().zip(fields) {
            *plain &= is_plain(&field.ty);
            match mark(field, errors) {
                Some(true) => {
                    let at = field.ident.as_ref().map_or_else(|| field.ty.span(), Ident::span);
                    texts.push((member, at));
                }
                Some(false) => {}
                None => continue,
            }
            self.is_marked = true;
        }
        self.shapes.push(Shape { variant, texts });
    }
}

/// Returns whether a field is marked as text to read (`true`) or to skip (`false`), or `None` without a mark.
fn mark(field: &mut Field, errors: &mut Errors) -> Option<bool> {
    let (marks, others): (Vec<_>, Vec<_>) = field.attrs.drain(..).partition(is_mark);
    field.attrs = others;
    if let Some(second) = marks.get(1) {
        errors.on(second, "a field is marked once");
    }
    let mark = marks.into_iter().next()?;
    match &mark.meta {
        Meta::Path(_) => Some(true),
        Meta::List(list) => match syn::parse2::<Ident>(list.tokens.clone()) {
            Ok(word) if word == "skip" => Some(false),
            Ok(word) => {
                let message = diag::unknown("word", &word.to_string(), &["skip"]);
                errors.at(word.span(), message);
                Some(true)
            }
            Err(_) => {
                errors.on(&mark, "a mark is written `#[filter]` or `#[filter(skip)]`");
                Some(true)
            }
        },
        Meta::NameValue(_) => {
            errors.on(&mark, "a mark is written `#[filter]` or `#[filter(skip)]`");
            Some(true)
        }
    }
}

fn misplaced(attributes: &mut Vec<Attribute>, errors: &mut Errors) {
    if let Some(mark) = attributes.iter().find(|attribute| is_mark(attribute)) {
        errors.on(mark, "`#[filter]` goes on a field whose text is to be read");
    }
    attributes.retain(|attribute| !is_mark(attribute));
}

fn is_mark(attribute: &Attribute) -> bool {
    attribute.path().is_ident("filter")
}

fn is_plain(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.get_ident().is_some_and(|ident| PLAIN.iter().any(|plain| ident == plain)))
}

pub(super) fn implementation(krate: &Path, item: &DeriveInput, filter: &Filter) -> Option<TokenStream> {
    let ident = &item.ident;
    let head = anchor(ident.span(), quote!(impl #krate::event::Filtered for #ident));
    let body = match &item.data {
        _ if !filter.is_marked => return None,
        Data::Struct(_) => {
            let looks = filter.shapes.iter().flat_map(|shape| &shape.texts).map(|(member, at)| {
                let at = Span::call_site().located_at(*at);
                let this = Ident::new("self", at);
                look(krate, &quote_spanned!(at=> &mut #this.#member))
            });
            quote!(#(#looks)*)
        }
        _ => {
            let arms = filter.shapes.iter().map(|shape| arm(krate, shape));
            // An enum without variants is matched by value.
            quote!(match *self { #(#arms)* })
        }
    };
    Some(quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        #head {
            fn each_text(
                &mut self,
                __look: &mut dyn ::core::ops::FnMut(&mut ::std::string::String),
            ) {
                #body
            }
        }
    })
}

/// `Self::Said { text: ref mut __0, .. } => { .. }`
fn arm(krate: &Path, shape: &Shape) -> TokenStream {
    let variant = &shape.variant;
    let located = |(index, (_, at)): (usize, &(Member, Span))| {
        Ident::new(&format!("__{index}"), Span::call_site().located_at(*at))
    };
    let names: Vec<Ident> = shape.texts.iter().enumerate().map(located).collect();
    let members = shape.texts.iter().map(|(member, _)| member);
    let looks = names.iter().map(|name| look(krate, &quote!(#name)));
    quote!(Self::#variant { #(#members: ref mut #names,)* .. } => { #(#looks)* })
}

/// Returns the call for a field, placed at the field's type: there rustc reports a field without text.
fn look(krate: &Path, text: &TokenStream) -> TokenStream {
    quote!(#krate::event::Filtered::each_text(#text, __look);)
}
