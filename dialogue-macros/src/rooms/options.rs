//! The options in `#[room(…)]`.

use std::time::Duration;

use proc_macro2::Span;
use syn::{
    Attribute, Ident, LitStr, Meta, Path, Result, Token, Type, bracketed,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    token,
};

use crate::{
    diag::{self, Errors},
    options::{self, equals, once, skip_until, value},
    path,
    quantity::{self, At},
    retain::Retain,
};

const OPTIONS: &[&str] = &[
    "name",
    "description",
    "capacity",
    "retain",
    "sync",
    "subscribe",
    "limit",
    "presence",
    "role",
    "identity",
    "state",
    "audit",
    "wait",
];

/// The maximum of `wait`: after it, the sender of an event has given up.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The options of one room.
#[derive(Default)]
pub(super) struct Options {
    pub(super) name: Option<LitStr>,
    /// The description that clients read.
    pub(super) description: Option<Described>,
    pub(super) capacity: Option<At<u64>>,
    pub(super) retain: Option<Retain>,
    pub(super) sync: Option<At<u64>>,
    pub(super) subscribe: Option<Vec<Path>>,
    /// The grace period of presence.
    pub(super) presence: Option<Duration>,
    pub(super) role: Option<LitStr>,
    /// The identity type that callers need.
    pub(super) identity: Option<Type>,
    /// The type of an instance's state.
    pub(super) state: Option<Type>,
    pub(super) audit: Option<()>,
    /// The time that events wait while the log can't be written.
    pub(super) wait: Option<Duration>,
    pub(super) limit: Option<Limit>,
}

/// The source of a room's description.
pub(super) enum Described {
    /// The doc comment; the span is that of the option.
    ByDocs(Span),
    As(LitStr),
}

/// A rate limit: a number of events per time.
pub(super) struct Limit {
    pub(super) count: u64,
    pub(super) per: Duration,
    /// The burst, if it is given.
    pub(super) burst: Option<u64>,
}

impl Options {
    pub(super) fn add(&mut self, attribute: &Attribute, errors: &mut Errors) {
        let Meta::List(list) = &attribute.meta else {
            errors.on(attribute, "options stand in parentheses: `#[room(capacity = 50)]`");
            return;
        };
        let parser = |input: ParseStream<'_>| {
            options::read(input, errors, |key, input, errors| self.option(key, input, errors));
            Ok(())
        };
        // The parser never fails, and reads to the end.
        let _ = parser.parse2(list.tokens.clone());
    }

    fn option(&mut self, key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> Result<()> {
        match key.to_string().as_str() {
            "name" => {
                let name: LitStr = value(key, input, "name = \"Chat\"")?;
                if name.value().trim().is_empty() {
                    errors.at(name.span(), "the name is empty; without the option it is the declared one");
                }
                once(&mut self.name, key, name)
            }
            "description" => {
                let described = match input.is_empty() || input.peek(Token![,]) {
                    true => Described::ByDocs(key.span()),
                    false => Described::As(value(key, input, "description = \"Where everybody talks\"")?),
                };
                if let Described::As(text) = &described
                    && text.value().trim().is_empty()
                {
                    errors.at(text.span(), "the description is empty; without the option there is none");
                }
                once(&mut self.description, key, described)
            }
            "capacity" => {
                equals(key, input, "capacity = 50")?;
                once(&mut self.capacity, key, quantity::count(input, "`capacity`", u32::MAX.into())?)
            }
            "retain" => once(&mut self.retain, key, Retain::parse(key, input, Retain::OF_A_ROOM, errors)?),
            "sync" => {
                equals(key, input, "sync = 50")?;
                once(&mut self.sync, key, quantity::count(input, "`sync`", u32::MAX.into())?)
            }
            "subscribe" => once(&mut self.subscribe, key, subscribe(key, input, errors)?),
            "limit" => once(&mut self.limit, key, limit(key, input)?),
            "presence" => {
                let mut grace = Duration::from_secs(2);
                if input.peek(Token![=]) {
                    equals(key, input, "presence = 2s")?;
                    grace = quantity::duration(input, "`presence`")?.value;
                }
                once(&mut self.presence, key, grace)
            }
            "role" => {
                let role: LitStr = value(key, input, "role = \"member\"")?;
                if role.value().is_empty() {
                    errors.at(role.span(), "the role is empty; without the option every user may join");
                }
                once(&mut self.role, key, role)
            }
            "identity" => {
                let identity = value(key, input, "identity = Member")?;
                once(&mut self.identity, key, identity)
            }
            "state" => {
                let state = value(key, input, "state = Board")?;
                once(&mut self.state, key, state)
            }
            "audit" => once(&mut self.audit, key, ()),
            "wait" => {
                equals(key, input, "wait = 5s")?;
                let wait = quantity::duration(input, "`wait`")?;
                if wait.value > LONGEST_WAIT {
                    errors.at(wait.span, "events wait at most 60 s: `wait = 60s`");
                }
                once(&mut self.wait, key, wait.value)
            }
            given => Err(syn::Error::new(key.span(), diag::unknown("room option", given, OPTIONS))),
        }
    }
}

/// Parses `= [Message, v2::Message]`.
fn subscribe(key: &Ident, input: ParseStream<'_>, errors: &mut Errors) -> Result<Vec<Path>> {
    const FORM: &str = "subscribe = [Message]";
    equals(key, input, FORM)?;
    if !input.peek(token::Bracket) {
        return Err(syn::Error::new(key.span(), format_args!("`subscribe` is written `{FORM}`")));
    }
    let content;
    bracketed!(content in input);
    let mut paths = Vec::new();
    while !content.is_empty() {
        match path::of_type(&content) {
            Ok(path) => paths.push(path),
            Err(error) => errors.push(error),
        }
        if !content.is_empty() && content.parse::<Token![,]>().is_err() {
            errors.push(content.error("expected `,`"));
            skip_until(&content, ',');
            let _ = content.parse::<Token![,]>();
        }
    }
    Ok(paths)
}

/// Parses `= 10 per 1s burst 20`.
fn limit(key: &Ident, input: ParseStream<'_>) -> Result<Limit> {
    equals(key, input, "limit = 10 per 1s")?;
    let count = quantity::count(input, "`limit`", u32::MAX.into())?.value;
    word(key, input, "per")?;
    let per = quantity::duration(input, "the time of `limit`")?.value;
    let mut burst = None;
    if !input.is_empty() && !input.peek(Token![,]) {
        word(key, input, "burst")?;
        burst = Some(quantity::count(input, "`burst`", u32::MAX.into())?.value);
    }
    Ok(Limit { count, per, burst })
}

/// Parses the word between two numbers.
fn word(key: &Ident, input: ParseStream<'_>, known: &str) -> Result<()> {
    let form = || {
        syn::Error::new(key.span(), "`limit` is written `limit = 10 per 1s` or `limit = 10 per 1s burst 20`")
    };
    let word = input.call(Ident::parse_any).map_err(|_| form())?;
    if word != known {
        return Err(syn::Error::new(word.span(), diag::unknown("word", &word.to_string(), &[known])));
    }
    match input.is_empty() || input.peek(Token![,]) {
        true => Err(form()),
        false => Ok(()),
    }
}
