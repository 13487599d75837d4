//! The parsed options of an event, and the item under them.

use proc_macro2::TokenStream;
use syn::{
    Attribute, Data, DeriveInput, Ident, Item, LitStr, Member, Path, Result,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    spanned::Spanned,
};

use super::push::Push;
use crate::{
    diag::{self, Errors},
    options::{self, once, value},
    path,
    retain::Retain,
};

const OPTIONS: &[&str] = &["name", "ephemeral", "latest", "retain", "from", "push", "validate", "crate"];

/// The options in `#[event(…)]`.
#[derive(Default)]
pub(super) struct Options {
    pub(super) name: Option<LitStr>,
    pub(super) ephemeral: Option<Ident>,
    /// The option's token, and the field if it could be parsed.
    pub(super) latest: Option<(Ident, Option<Member>)>,
    /// The option's token, and its value.
    pub(super) retain: Option<(Ident, Retain)>,
    pub(super) from: Option<Ident>,
    pub(super) push: Option<Push>,
    /// Set if `Validate` is implemented by hand.
    pub(super) validate: Option<Ident>,
    pub(super) krate: Option<Path>,
}

impl Options {
    pub(super) fn parse(tokens: TokenStream, errors: &mut Errors) -> Options {
        let mut parsed = Options::default();
        let parser = |input: ParseStream<'_>| {
            options::read(input, errors, |key, input, errors| parsed.option(key, input, errors));
            Ok(())
        };
        // The parser never fails, and reads to the end.
        let _ = parser.parse2(tokens);
        parsed
    }

    fn option(&mut self, key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        match key.to_string().as_str() {
            "name" => {
                let name = value(key, input, "name = \"new-post\"")?;
                once(&mut self.name, key, name)
            }
            "ephemeral" => once(&mut self.ephemeral, key, key.clone()),
            "latest" => {
                // The class is `latest` whatever follows, so that no second error is reported about the class.
                let field = value(key, input, "latest = field").map_err(|_| {
                    syn::Error::new(
                        key.span(),
                        "`latest` needs the field by which a newer event replaces an older one: `latest = field`",
                    )
                });
                let field = errors.ok(field);
                if field.is_none() {
                    options::skip_until(input, ',');
                }
                once(&mut self.latest, key, (key.clone(), field))
            }
            "retain" => {
                let retain = Retain::parse(key, input, Retain::OF_AN_EVENT, errors)?;
                once(&mut self.retain, key, (key.clone(), retain))
            }
            "from" => {
                options::equals(key, input, "from = server")?;
                let at = input.span();
                let form = |_| syn::Error::new(at, "`from` is written `from = server`");
                let from: Ident = input.call(Ident::parse_any).map_err(form)?;
                if from != "server" {
                    let message = diag::unknown("sender", &from.to_string(), &["server"]);
                    return Err(syn::Error::new(from.span(), message));
                }
                once(&mut self.from, key, from)
            }
            "push" => {
                let push = Push::parse(key, input, errors)?;
                once(&mut self.push, key, push)
            }
            "validate" => once(&mut self.validate, key, key.clone()),
            "crate" => {
                options::equals(key, input, "crate = path")?;
                let path = path::of_module(input)?;
                once(&mut self.krate, key, path)
            }
            given => Err(syn::Error::new(key.span(), diag::unknown("event option", given, OPTIONS))),
        }
    }
}

/// A struct or an enum.
pub(super) struct Subject {
    pub(super) item: DeriveInput,
}

impl Subject {
    pub(super) fn parse(tokens: TokenStream) -> Result<Subject> {
        let item: Item = syn::parse2(tokens)?;
        let what = match &item {
            Item::Struct(item) => return Ok(Subject { item: item.clone().into() }),
            Item::Enum(item) => return Ok(Subject { item: item.clone().into() }),
            Item::Union(item) => {
                let message = "a union has no form on the wire; an event is a struct or an enum";
                return Err(syn::Error::new(item.union_token.span, message));
            }
            Item::Fn(_) => "a function",
            Item::Trait(_) => "a trait",
            Item::Type(_) => "a type alias; put it on the type itself",
            Item::Mod(_) => "a module",
            Item::Impl(_) => "an impl",
            _ => "this",
        };
        Err(syn::Error::new(
            item.span(),
            format_args!("`#[dialogue::event]` goes on a struct or an enum, not on {what}"),
        ))
    }

    /// Returns the attributes of the item, its variants and its fields.
    pub(super) fn attributes_mut(&mut self) -> Vec<&mut Vec<Attribute>> {
        let mut lists = vec![&mut self.item.attrs];
        match &mut self.item.data {
            Data::Struct(data) => lists.extend(data.fields.iter_mut().map(|field| &mut field.attrs)),
            Data::Enum(data) => {
                for variant in &mut data.variants {
                    lists.push(&mut variant.attrs);
                    lists.extend(variant.fields.iter_mut().map(|field| &mut field.attrs));
                }
            }
            Data::Union(_) => {}
        }
        lists
    }
}
