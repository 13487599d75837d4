//! The option `push(…)` of `#[dialogue::event]`: the texts and settings of an event's notification.

mod expand;
mod template;

use std::time::Duration;

use proc_macro2::Span;
use syn::{Data, Ident, LitStr, Member, Result, ext::IdentExt, parenthesized, parse::ParseStream, token};

pub(super) use expand::impl_push_event;
use template::Template;

use super::model::has;
use crate::{
    diag::{self, Errors},
    options::{self, once, value},
    quantity::{self, At},
};

const SYNTAX: &str = "push(title = \"…\", body = \"…\")";
const OPTIONS: &[&str] =
    &["title", "body", "icon", "url", "urgency", "ttl", "collapse", "data", "after", "always"];
const URGENCIES: &[(&str, &str)] = &[("low", "Low"), ("normal", "Normal"), ("high", "High")];

/// The longest TTL that FCM takes: 2,419,200 s. No other provider is known to keep a push longer.
const MAX_TTL: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// The longest `after`, since events that wait stay in memory.
const MAX_AFTER: Duration = Duration::from_secs(60 * 60);
/// The maximum of bytes of all texts without their fields. Fields, the room's id and the event's position have the rest
/// of the 3,052 bytes of a browser's push.
const MAX_TEXT_BYTES: usize = 2_048;

/// A parsed `push(…)`, checked as far as that doesn't depend on the event's fields.
pub(super) struct PushOption {
    pub(super) span: Span,
    /// Set if a part could not be parsed, which is reported already.
    is_broken: bool,
    parts: PushParts,
}

/// The option `data` or `data = field`.
enum DataOption {
    WholeEvent,
    Field(Member),
}

/// The options inside of `push(…)`.
#[derive(Default)]
struct PushParts {
    /// `title`, `body`, `icon`, `url`: the option, which is also the name of a method of `Notification`, and its text.
    texts: Vec<(Ident, Template)>,
    /// The names of all options so far.
    seen: Vec<Ident>,
    /// A variant of `dialogue::notification::Urgency`.
    urgency: Option<Ident>,
    ttl: Option<At<Duration>>,
    after: Option<At<Duration>>,
    collapse: Option<Member>,
    data: Option<DataOption>,
    always: bool,
}

impl PushOption {
    pub(super) fn parse(key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> Result<PushOption> {
        if !input.peek(token::Paren) {
            return Err(syn::Error::new(key.span(), format_args!("`push` is written `{SYNTAX}`")));
        }
        let content;
        parenthesized!(content in input);
        let mut own = Errors::default();
        let mut parts = PushParts::default();
        options::read(&content, &mut own, |key, input, _| parts.option(key, input));
        for required in ["title", "body"] {
            if own.is_empty() && !parts.seen.iter().any(|seen| seen == required) {
                own.at(key.span(), format_args!("`push` needs a `{required}`: `{SYNTAX}`"));
            }
        }
        if own.is_empty() {
            parts.check_bounds(&mut own);
        }
        let is_broken = !own.is_empty();
        errors.append(own);
        Ok(PushOption { span: key.span(), is_broken, parts })
    }

    /// Reports fields that are named and that the event doesn't have; returns whether there are none.
    pub(super) fn check(&self, data: &Data, errors: &mut Errors) -> bool {
        if self.is_broken {
            return false;
        }
        let named = [
            ("collapse", self.parts.collapse.as_ref()),
            ("data", self.parts.data.as_ref().and_then(DataOption::field)),
        ];
        let mut is_valid = true;
        for (option, field) in named.into_iter().filter_map(|(option, field)| Some((option, field?))) {
            is_valid &= has(data, field, self.span, option, errors);
        }
        for (_, text) in &self.parts.texts {
            for field in text.fields() {
                is_valid &= has(data, field, self.span, "push", errors);
            }
        }
        is_valid
    }
}

impl DataOption {
    fn field(&self) -> Option<&Member> {
        match self {
            DataOption::WholeEvent => None,
            DataOption::Field(field) => Some(field),
        }
    }
}

impl PushParts {
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
                self.data = Some(match input.peek(syn::Token![=]) {
                    true => DataOption::Field(value(key, input, "data = field")?),
                    false => DataOption::WholeEvent,
                });
            }
            "always" => self.always = true,
            _ => return Err(syn::Error::new(key.span(), diag::unknown("push option", &name, OPTIONS))),
        }
        let mut previous = self.seen.iter().any(|seen| seen == key).then(|| key.clone());
        self.seen.push(key.clone());
        once(&mut previous, key, key.clone())
    }

    /// Reports values that providers would refuse, or that would keep a push from ever being sent.
    fn check_bounds(&self, errors: &mut Errors) {
        let wait = self.after.map_or(Duration::ZERO, |after| after.value);
        match self.ttl {
            Some(ttl) if ttl.value > MAX_TTL => {
                errors.at(ttl.span, "`ttl` is at most 28d: no provider keeps a push longer");
            }
            Some(ttl) if ttl.value <= wait => {
                errors.at(ttl.span, "`ttl` has to be longer than `after`, or the push would never be sent");
            }
            _ => {}
        }
        if let Some(after) = self.after.filter(|after| after.value > MAX_AFTER) {
            errors.at(after.span, "`after` is at most 1h: it gives users time to come back at once");
        }
        let bytes: usize = self.texts.iter().map(|(_, text)| text.bytes()).sum();
        let longest = self.texts.iter().max_by_key(|(_, text)| text.bytes());
        if let Some((_, longest)) = longest.filter(|_| bytes > MAX_TEXT_BYTES) {
            let message = format!(
                "the texts of this push have {bytes} bytes before any field is in them, and {MAX_TEXT_BYTES} fit; \
                 shorten them, or let the app fetch the rest"
            );
            errors.at(longest.span, message);
        }
    }
}
