//! `push(…)`: how an event reads as a notification.

mod expand;
mod template;

use std::time::Duration;

use proc_macro2::Span;
use syn::{Data, Ident, LitStr, Member, Result, ext::IdentExt, parenthesized, parse::ParseStream, token};

pub(super) use expand::notification;
use template::Template;

use super::model::has;
use crate::{
    diag::{self, Errors},
    options::{self, once, value},
    quantity::{self, At},
};

const FORM: &str = "push(title = \"…\", body = \"…\")";
const OPTIONS: &[&str] =
    &["title", "body", "icon", "url", "urgency", "ttl", "collapse", "data", "after", "always"];
const URGENCIES: &[(&str, &str)] = &[("low", "Low"), ("normal", "Normal"), ("high", "High")];

/// No provider keeps a push longer than FCM: 2,419,200 s.
const LONGEST_TTL: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// What waits is kept.
const LONGEST_AFTER: Duration = Duration::from_secs(60 * 60);
/// Bytes of the texts, without what the fields put into them: the rest of the 3,052 of a browser's push is for those, and for
/// where in which room the event stands.
const LONGEST_TEXTS: usize = 2_048;

/// Read, and checked as far as that goes without the fields.
pub(super) struct Push {
    pub(super) span: Span,
    /// Something in it could not be read, and was said.
    broken: bool,
    parts: Parts,
}

#[derive(Default)]
struct Parts {
    /// `title`, `body`, `icon`, `url`: the methods that set them, and what to.
    texts: Vec<(Ident, Template)>,
    seen: Vec<Ident>,
    /// A variant of `Urgency`.
    urgency: Option<Ident>,
    ttl: Option<At<Duration>>,
    after: Option<At<Duration>>,
    collapse: Option<Member>,
    /// `data`, or `data = field`.
    data: Option<Option<Member>>,
    always: bool,
}

impl Push {
    pub(super) fn parse(key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> Result<Push> {
        if !input.peek(token::Paren) {
            return Err(syn::Error::new(key.span(), format_args!("`push` is written `{FORM}`")));
        }
        let content;
        parenthesized!(content in input);
        let mut own = Errors::default();
        let mut parts = Parts::default();
        options::read(&content, &mut own, |key, input, _| parts.option(key, input));
        for required in ["title", "body"] {
            if own.is_empty() && !parts.seen.iter().any(|seen| seen == required) {
                own.at(key.span(), format_args!("`push` needs a `{required}`: `{FORM}`"));
            }
        }
        if own.is_empty() {
            parts.bounds(&mut own);
        }
        let broken = !own.is_empty();
        errors.append(own);
        Ok(Push { span: key.span(), broken, parts })
    }

    /// Whether the event has all the fields that it names.
    pub(super) fn check(&self, data: &Data, errors: &mut Errors) -> bool {
        if self.broken {
            return false;
        }
        let named = [
            ("collapse", self.parts.collapse.as_ref()),
            ("data", self.parts.data.as_ref().and_then(Option::as_ref)),
        ];
        let mut fine = true;
        for (option, field) in named.into_iter().filter_map(|(option, field)| Some((option, field?))) {
            fine &= has(data, field, self.span, option, errors);
        }
        for (_, text) in &self.parts.texts {
            for field in text.fields() {
                fine &= has(data, field, self.span, "push", errors);
            }
        }
        fine
    }
}

impl Parts {
    fn option(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        let name = key.to_string();
        match name.as_str() {
            "title" | "body" | "icon" | "url" => {
                let text: LitStr = value(key, input, &format!("{name} = \"…\""))?;
                self.texts.push((key.clone(), Template::parse(&text)?));
            }
            "urgency" => {
                options::equals(key, input, "urgency = high")?;
                let word = input.call(Ident::parse_any)?;
                let Some((_, variant)) = URGENCIES.iter().find(|(known, _)| word == known) else {
                    let known: Vec<&str> = URGENCIES.iter().map(|(known, _)| *known).collect();
                    let message = diag::unknown("urgency", &word.to_string(), &known);
                    return Err(syn::Error::new(word.span(), message));
                };
                self.urgency = Some(Ident::new(variant, word.span()));
            }
            "ttl" => {
                options::equals(key, input, "ttl = 1h")?;
                self.ttl = Some(quantity::duration(input, "`ttl`")?);
            }
            "after" => {
                options::equals(key, input, "after = 5s")?;
                self.after = Some(quantity::duration(input, "`after`")?);
            }
            "collapse" => self.collapse = Some(value(key, input, "collapse = field")?),
            "data" => {
                let field = match input.peek(syn::Token![=]) {
                    true => Some(value(key, input, "data = field")?),
                    false => None,
                };
                self.data = Some(field);
            }
            "always" => self.always = true,
            _ => return Err(syn::Error::new(key.span(), diag::unknown("push option", &name, OPTIONS))),
        }
        let mut before = self.seen.iter().any(|seen| seen == key).then(|| key.clone());
        self.seen.push(key.clone());
        once(&mut before, key, key.clone())
    }

    /// What providers would refuse, or never get to see.
    fn bounds(&self, errors: &mut Errors) {
        let wait = self.after.map_or(Duration::ZERO, |after| after.value);
        match self.ttl {
            Some(ttl) if ttl.value > LONGEST_TTL => {
                errors.at(ttl.span, "`ttl` is at most 28d: no provider keeps a push longer");
            }
            Some(ttl) if ttl.value <= wait => {
                errors.at(ttl.span, "`ttl` is longer than `after`, or the push would never be sent");
            }
            _ => {}
        }
        if let Some(after) = self.after.filter(|after| after.value > LONGEST_AFTER) {
            errors.at(after.span, "`after` is at most 1h: it is for who comes back at once");
        }
        let bytes: usize = self.texts.iter().map(|(_, text)| text.bytes()).sum();
        let longest = self.texts.iter().max_by_key(|(_, text)| text.bytes());
        if let Some((_, longest)) = longest.filter(|_| bytes > LONGEST_TEXTS) {
            let message = format!(
                "the texts of this push have {bytes} bytes before any field is in them, and {LONGEST_TEXTS} fit; \
                 shorten them, or let the app fetch the rest"
            );
            errors.at(longest.span, message);
        }
    }
}
