//! `push(…)`: how an event reads as a notification. Read and checked, but not made yet.

use proc_macro2::Span;
use syn::{Ident, LitStr, Member, Result, ext::IdentExt, parenthesized, parse::ParseStream, token};

use crate::{
    diag::{self, Errors},
    options::{self, once, value},
    quantity,
};

const FORM: &str = "push(title = \"…\", body = \"…\")";
const OPTIONS: &[&str] = &["title", "body", "icon", "url", "urgency", "ttl", "collapse", "data"];
const URGENCIES: &[&str] = &["low", "normal", "high"];

pub(super) struct Push {
    pub(super) span: Span,
    /// Something in it could not be read, and was said.
    pub(super) broken: bool,
    /// Texts with `{field}` in them.
    pub(super) texts: Vec<LitStr>,
    pub(super) collapse: Option<Member>,
}

#[derive(Default)]
struct Parts {
    texts: Vec<LitStr>,
    seen: Vec<Ident>,
    collapse: Option<Member>,
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
        let broken = !own.is_empty();
        errors.append(own);
        Ok(Push { span: key.span(), broken, texts: parts.texts, collapse: parts.collapse })
    }
}

impl Parts {
    fn option(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        let name = key.to_string();
        match name.as_str() {
            "title" | "body" | "icon" | "url" => {
                self.texts.push(value(key, input, &format!("{name} = \"…\""))?)
            }
            "urgency" => {
                options::equals(key, input, "urgency = high")?;
                let word = input.call(Ident::parse_any)?;
                if !URGENCIES.iter().any(|known| word == known) {
                    let message = diag::unknown("urgency", &word.to_string(), URGENCIES);
                    return Err(syn::Error::new(word.span(), message));
                }
            }
            "ttl" => {
                options::equals(key, input, "ttl = 1h")?;
                quantity::duration(input, "`ttl`")?;
            }
            "collapse" => self.collapse = Some(value(key, input, "collapse = field")?),
            "data" => {}
            given => return Err(syn::Error::new(key.span(), diag::unknown("push option", given, OPTIONS))),
        }
        let mut before = self.seen.iter().any(|seen| seen == key).then(|| key.clone());
        self.seen.push(key.clone());
        once(&mut before, key, key.clone())
    }
}

/// The names in `{…}`; `{{` is a brace.
pub(super) fn placeholders(text: &str) -> Vec<String> {
    let text = text.replace("{{", "").replace("}}", "");
    text.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name.trim().to_owned())
        .collect()
}
