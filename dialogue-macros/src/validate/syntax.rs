//! The parsed validation rules.

use proc_macro2::TokenTree;
use syn::{
    Attribute, Expr, Ident, LitStr, Meta, Result, Token,
    ext::IdentExt,
    parenthesized,
    parse::{ParseStream, Parser},
    token,
};

use crate::{
    diag::{self, Errors},
    options,
};

/// The form of a rule: its name and the names of its arguments.
pub(super) struct Form {
    pub(super) name: &'static str,
    arguments: &'static [&'static str],
    pub(super) form: &'static str,
}

/// The rules of fields.
const FIELD: &[Form] = &[
    Form { name: "length", arguments: &["min", "max", "equal"], form: "length(min = 1, max = 100)" },
    Form {
        name: "range",
        arguments: &["min", "max", "exclusive_min", "exclusive_max"],
        form: "range(min = 1, max = 100)",
    },
    Form { name: "contains", arguments: &["pattern"], form: "contains(pattern = \"…\")" },
    Form { name: "does_not_contain", arguments: &["pattern"], form: "does_not_contain(pattern = \"…\")" },
    Form { name: "must_match", arguments: &["other"], form: "must_match(other = field)" },
    Form { name: "custom", arguments: &["function"], form: "custom(function = path)" },
    Form { name: "nested", arguments: &[], form: "nested" },
    Form { name: "required", arguments: &[], form: "required" },
    Form { name: "non_control_character", arguments: &[], form: "non_control_character" },
    Form { name: "email", arguments: &[], form: "email" },
    Form { name: "url", arguments: &[], form: "url" },
    Form { name: "ip", arguments: &["v4", "v6"], form: "ip" },
    Form { name: "ipv4", arguments: &[], form: "ipv4" },
    Form { name: "ipv6", arguments: &[], form: "ipv6" },
];

/// The rules of the struct or enum.
const ITEM: &[Form] = &[
    Form {
        name: "schema",
        arguments: &["function", "skip_on_field_errors"],
        form: "schema(function = path)",
    },
    Form { name: "crate", arguments: &[], form: "crate = path" },
];

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    Item,
    Field,
}

pub(super) struct Rule {
    pub(super) name: Ident,
    pub(super) form: &'static Form,
    /// The value in `name = value`.
    pub(super) value: Option<Expr>,
    pub(super) arguments: Vec<(Ident, Option<Expr>)>,
    pub(super) message: Option<LitStr>,
    /// True if an argument couldn't be parsed: a missing one is then no second error.
    pub(super) is_broken: bool,
}

/// Parses the rules in the attributes of a field or of the item.
pub(super) fn rules(attributes: &[Attribute], place: Place, errors: &mut Errors) -> Vec<Rule> {
    let mut rules = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("validate")) {
        match &attribute.meta {
            Meta::List(list) if !list.tokens.is_empty() => {
                let parser = |input: ParseStream<'_>| {
                    options::read(input, errors, |name, input, errors| {
                        rules.push(rule(name, input, place, errors)?);
                        Ok(())
                    });
                    Ok(())
                };
                // The parser never fails, and reads to the end.
                let _ = parser.parse2(list.tokens.clone());
            }
            _ => {
                let example = match place {
                    Place::Field => {
                        "`#[validate(length(max = 100))]`, or `#[validate(nested)]` where the field's type has rules"
                    }
                    Place::Item => "`#[validate(schema(function = path))]`",
                };
                errors.on(attribute, format_args!("no rule is given: write {example}"));
            }
        }
    }
    rules
}

fn rule(name: &Ident, input: ParseStream<'_>, place: Place, errors: &mut Errors) -> Result<Rule> {
    let form = form(name, place)?;
    let mut rule = Rule {
        name: name.clone(),
        form,
        value: None,
        arguments: Vec::new(),
        message: None,
        is_broken: false,
    };
    if input.peek(Token![=]) {
        if form.arguments.len() != 1 && form.name != "crate" {
            return Err(match form.arguments {
                [] => syn::Error::new(name.span(), format_args!("`{name}` takes no value")),
                _ => written(name, form),
            });
        }
        options::equals(name, input, form.form)?;
        rule.value = Some(expression(input)?);
    } else if input.peek(token::Paren) {
        if form.name == "crate" {
            return Err(written(name, form));
        }
        let content;
        parenthesized!(content in input);
        let mut own = Errors::default();
        rule.arguments(&content, &mut own);
        rule.is_broken = !own.is_empty();
        errors.append(own);
    }
    Ok(rule)
}

impl Rule {
    fn arguments(&mut self, input: ParseStream<'_>, errors: &mut Errors) {
        if !input.is_empty() && !input.peek(Ident::peek_any) {
            let message = format_args!("arguments have names: `{}`", self.form.form);
            errors.at(input.span(), message);
            while input.parse::<TokenTree>().is_ok() {}
        }
        options::read(input, errors, |key, input, _| self.argument(key, input));
    }

    fn argument(&mut self, key: &Ident, input: ParseStream<'_>) -> Result<()> {
        let Form { name, arguments, .. } = self.form;
        let given = key.to_string();
        match given.as_str() {
            "message" if *name != "nested" => {
                let message = options::value(key, input, "message = \"…\"")?;
                options::once(&mut self.message, key, message)
            }
            given if arguments.contains(&given) => {
                if self.arguments.iter().any(|(other, _)| other == key) {
                    return Err(syn::Error::new(key.span(), format_args!("`{key}` is given twice")));
                }
                let value = match input.peek(Token![=]) {
                    true => {
                        options::equals(key, input, self.form.form)?;
                        Some(expression(input)?)
                    }
                    false => None,
                };
                self.arguments.push((key.clone(), value));
                Ok(())
            }
            "code" => Err(syn::Error::new(
                key.span(),
                "a violation has a path and a message, and no code; write `message = \"…\"`",
            )),
            "use_context" => {
                Err(syn::Error::new(key.span(), "the function is given the value alone; there is no context"))
            }
            _ if *name == "nested" => Err(syn::Error::new(
                key.span(),
                "`nested` takes no arguments; the messages are those of the rules in the field's type",
            )),
            given => {
                let known: Vec<&str> = arguments.iter().copied().chain(["message"]).collect();
                let message = format!("`{name}` has no argument `{given}`; {}", diag::meant(given, &known));
                Err(syn::Error::new(key.span(), message))
            }
        }
    }
}

/// Parses a value; a fragment that a `macro_rules!` captured (`$text:literal`) comes in a group without delimiters.
fn expression(input: ParseStream<'_>) -> Result<Expr> {
    let mut value: Expr = input.parse()?;
    while let Expr::Group(group) = value {
        value = *group.expr;
    }
    Ok(value)
}

fn form(name: &Ident, place: Place) -> Result<&'static Form> {
    let (here, there) = match place {
        Place::Item => (ITEM, FIELD),
        Place::Field => (FIELD, ITEM),
    };
    let given = name.to_string();
    let is_given = |form: &&Form| form.name == given;
    if let Some(form) = here.iter().find(is_given) {
        return Ok(form);
    }
    let message = match given.as_str() {
        "regex" => "there is no rule `regex`: Dialogue brings no engine for regular expressions; write \
                    `custom(function = path)`, with a function that matches the text: \
                    `fn(&str) -> Result<(), &'static str>`"
            .to_owned(),
        _ if there.iter().any(|form| form.name == given) => match place {
            Place::Item => {
                format!("`{given}` goes on a field; a rule about several fields is `schema(function = path)`")
            }
            Place::Field => {
                format!("`{given}` goes on the struct or enum; on a field write `custom(function = path)`")
            }
        },
        given => {
            let known: Vec<&str> = here.iter().map(|form| form.name).collect();
            diag::unknown("rule", given, &known)
        }
    };
    Err(syn::Error::new(name.span(), message))
}

/// Returns the error of a rule in a wrong form.
pub(super) fn written(name: &Ident, form: &Form) -> syn::Error {
    syn::Error::new(name.span(), format_args!("`{}` is written `{}`", form.name, form.form))
}
