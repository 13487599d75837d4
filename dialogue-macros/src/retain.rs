//! `retain(…)`: the retention of a room's log, or of one event type.

use std::time::Duration;

use proc_macro2::{Literal, TokenStream};
use quote::quote;
use syn::{Ident, Path, Result, parenthesized, parse::ParseStream, token};

use crate::{
    diag::{self, Errors},
    options::{self, equals, once},
    quantity::{self, At},
};

/// The bounds in a `retain(…)`.
#[derive(Default)]
pub(crate) struct Retain {
    pub(crate) events: Option<At<u64>>,
    pub(crate) bytes: Option<At<u64>>,
    pub(crate) age: Option<At<Duration>>,
    pub(crate) forever: Option<Ident>,
}

/// The place of a `retain(…)`, which decides its form and the bounds that it may have.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    written: &'static str,
    bounds: &'static [&'static str],
}

impl Retain {
    pub(crate) const OF_A_ROOM: Form = Form {
        written: "retain(events = 1_000, bytes = 1MiB, age = 7d)",
        bounds: &["events", "bytes", "age", "forever"],
    };
    pub(crate) const OF_AN_EVENT: Form =
        Form { written: "retain(events = 100, age = 1h)", bounds: &["events", "age"] };

    pub(crate) fn parse(
        key: &Ident,
        input: ParseStream<'_>,
        form: Form,
        errors: &mut Errors,
    ) -> Result<Retain> {
        let Form { written, .. } = form;
        if !input.peek(token::Paren) {
            return Err(syn::Error::new(
                key.span(),
                format_args!("`retain` is written `{written}`, with at least one of them"),
            ));
        }
        let content;
        parenthesized!(content in input);
        if content.is_empty() {
            return Err(syn::Error::new(
                key.span(),
                format_args!("`retain` is empty; it is written `{written}`"),
            ));
        }
        let mut retain = Retain::default();
        options::read(&content, errors, |key, input, _| retain.option(key, input, form));
        if let Some(forever) = &retain.forever
            && (retain.events.is_some() || retain.bytes.is_some() || retain.age.is_some())
        {
            errors.at(forever.span(), "what is kept `forever` has no other bound; drop one or the other");
        }
        Ok(retain)
    }

    fn option(&mut self, key: &Ident, input: ParseStream<'_>, form: Form) -> Result<()> {
        let name = key.to_string();
        match name.as_str() {
            name if !form.bounds.contains(&name) => {
                Err(syn::Error::new(key.span(), diag::unknown("bound of `retain`", name, form.bounds)))
            }
            "events" => {
                equals(key, input, "events = 1_000")?;
                once(&mut self.events, key, quantity::count(input, "`events`", u64::MAX)?)
            }
            "bytes" => {
                equals(key, input, "bytes = 1MiB")?;
                once(&mut self.bytes, key, quantity::bytes(input, "`bytes`")?)
            }
            "age" => {
                equals(key, input, "age = 7d")?;
                once(&mut self.age, key, quantity::duration(input, "`age`")?)
            }
            _ => once(&mut self.forever, key, key.clone()),
        }
    }

    /// Returns `Retention::new()` and a call for each bound.
    pub(crate) fn expand(&self, krate: &Path) -> TokenStream {
        let events = self.events.iter().map(|at| Literal::u64_unsuffixed(at.value));
        let bytes = self.bytes.iter().map(|at| Literal::u64_unsuffixed(at.value));
        let age = self.age.iter().map(|at| quantity::expand(at.value));
        let forever = self.forever.as_ref().map(|_| quote!(.forever()));
        quote!(#krate::room::Retention::new() #(.events(#events))* #(.bytes(#bytes))* #(.age(#age))* #forever)
    }
}
