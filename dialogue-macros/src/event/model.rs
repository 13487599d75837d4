//! The meaning of an event's options, and all rules about them.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{
    Attribute, Data, DeriveInput, GenericParam, LitStr, Member, Meta, Path, Token, ext::IdentExt,
    punctuated::Punctuated,
};

use super::{
    filter::Filter,
    push::Push,
    shape::shape,
    syntax::{Options, Subject},
};
use crate::{
    diag::{self, Errors},
    retain::Retain,
    validate,
};

pub(super) struct Event {
    pub(super) krate: Path,
    pub(super) item: DeriveInput,
    pub(super) name: LitStr,
    pub(super) class: Class,
    pub(super) retain: Option<Retain>,
    pub(super) from_server: bool,
    pub(super) shape: String,
    pub(super) filter: Filter,
    pub(super) push: Option<Push>,
    pub(super) validation: Validation,
}

/// The origin of the event's `impl Validate`.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Validation {
    /// The macro writes an impl without rules.
    None,
    /// The derive writes the impl, from `#[validate(…)]`.
    Derived,
    /// The user writes the impl, and sets the option `validate`.
    ByHand,
}

pub(super) enum Class {
    Durable,
    Latest(Member),
    Ephemeral,
}

/// Checks an event. `Err` holds an item that can't be an event, without the attributes that only an event may have.
pub(super) fn check(
    options: Options,
    mut subject: Subject,
    dialogue: &Path,
    errors: &mut Errors,
) -> Result<Event, TokenStream> {
    let filter = Filter::take(&mut subject, errors);
    let validation = validation(&options, &mut subject, errors);
    let krate = options.krate.clone().unwrap_or_else(|| dialogue.clone());
    derives(&mut subject.item, validation, &krate, errors);
    let item = subject.item;
    let class = class(&options, &item.data, errors);
    let push = options.push.filter(|push| push.check(&item.data, errors));
    let retain = options.retain.map(|(key, retain)| {
        if matches!(class, Class::Ephemeral) {
            errors.at(key.span(), "an `ephemeral` event is never kept; drop one or the other");
        }
        retain
    });
    let name = match options.name {
        Some(name) => checked(name, errors),
        None => LitStr::new(&kebab(&item.ident.unraw().to_string()), item.ident.span()),
    };
    if generic(&item, errors) {
        let mut subject = Subject { item };
        for attributes in subject.attributes_mut() {
            attributes.retain(|a| !a.path().is_ident("serde") && !a.path().is_ident("validate"));
        }
        return Err(subject.item.into_token_stream());
    }
    Ok(Event {
        krate,
        name,
        class,
        retain,
        from_server: options.from.is_some(),
        push,
        shape: shape(&item),
        filter,
        validation,
        item,
    })
}

fn generic(item: &DeriveInput, errors: &mut Errors) -> bool {
    match item.generics.params.first() {
        None => false,
        Some(GenericParam::Lifetime(lifetime)) => {
            errors.on(lifetime, "an event owns what it holds, for it outlives its sender; use `String` for `&str`, `Vec<T>` for `&[T]`");
            true
        }
        Some(param) => {
            errors.on(param, "an event can't be generic, for it has one name and one form on the wire; write one event for each type");
            true
        }
    }
}

fn validation(options: &Options, subject: &mut Subject, errors: &mut Errors) -> Validation {
    let lists = subject.attributes_mut();
    let rule = lists
        .into_iter()
        .flat_map(|list| list.iter())
        .find(|attribute| validate::is_rule(attribute))
        .cloned();
    match (&options.validate, rule) {
        (None, None) => Validation::None,
        (None, Some(_)) => Validation::Derived,
        // Another library's derive may read the attribute.
        (Some(_), Some(rule)) if !subject.item.attrs.iter().any(derives_validate) => {
            errors.on(
                rule,
                "the option `validate` means that `dialogue::Validate` is implemented by hand, but rules derive it: \
                 drop one or the other",
            );
            Validation::Derived
        }
        (Some(_), _) => Validation::ByHand,
    }
}

fn derives_validate(attribute: &Attribute) -> bool {
    let paths = attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated);
    let is_validate = |path: &Path| path.segments.last().is_some_and(|last| last.ident == "Validate");
    attribute.path().is_ident("derive") && paths.is_ok_and(|paths| paths.iter().any(is_validate))
}

/// Removes derives that the macro adds itself.
fn derives(item: &mut DeriveInput, validation: Validation, krate: &Path, errors: &mut Errors) {
    for attribute in &mut item.attrs {
        if !attribute.path().is_ident("derive") {
            continue;
        }
        let Ok(paths) = attribute.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated) else {
            continue;
        };
        let mut kept = Punctuated::<Path, Token![,]>::new();
        for path in paths {
            let last = path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
            match last.as_str() {
                "Serialize" | "Deserialize" => {}
                // Other libraries have a derive of that name.
                "Validate" if validation == Validation::Derived && is_below(&path, krate) => {}
                _ => {
                    kept.push(path);
                    continue;
                }
            }
            errors.on(&path, format_args!("`#[dialogue::event]` derives `{last}` already; drop it here"));
        }
        if let Meta::List(list) = &mut attribute.meta {
            list.tokens = quote!(#kept);
        }
    }
    let empty = |attribute: &Attribute| matches!(&attribute.meta, Meta::List(list) if list.tokens.is_empty());
    item.attrs.retain(|attribute| !(attribute.path().is_ident("derive") && empty(attribute)));
}

/// Returns whether a path is a single name, or one in `krate`.
fn is_below(path: &Path, krate: &Path) -> bool {
    let first = |path: &Path| path.segments.first().map(|segment| segment.ident.clone());
    path.segments.len() == 1 || first(path) == first(krate)
}

fn class(options: &Options, data: &Data, errors: &mut Errors) -> Class {
    match (&options.ephemeral, &options.latest) {
        (Some(_), Some((latest, _))) => {
            errors.at(
                latest.span(),
                "an event is `ephemeral` or `latest`: not kept at all, or kept until a newer one comes",
            );
            Class::Ephemeral
        }
        (Some(_), None) => Class::Ephemeral,
        (None, Some((latest, Some(field)))) => match has(data, field, latest.span(), "latest", errors) {
            true => Class::Latest(field.clone()),
            false => Class::Durable,
        },
        (None, _) => Class::Durable,
    }
}

/// Checks that the event has the field that an option names.
pub(super) fn has(data: &Data, field: &Member, option: Span, name: &str, errors: &mut Errors) -> bool {
    let Data::Struct(data) = data else {
        errors.at(
            option,
            format_args!("`{name}` names a field, and an enum has none; let a struct hold the enum"),
        );
        return false;
    };
    let members: Vec<Member> = data.fields.members().collect();
    if members.contains(field) {
        return true;
    }
    let spelled = |member: &Member| match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    if members.is_empty() {
        errors.at(option, format_args!("`{name}` names a field, and this struct has none"));
        return false;
    }
    let names: Vec<String> = members.iter().map(spelled).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    errors.on(field, diag::unknown("field", &spelled(field), &names));
    false
}

fn checked(name: LitStr, errors: &mut Errors) -> LitStr {
    let text = name.value();
    let wrong = match text.as_str() {
        "" => "is empty",
        "*" => "stands for all events",
        text if text.len() > 64 => "is longer than 64 bytes",
        text if text.chars().any(|c| c.is_whitespace() || c.is_control()) => "has a space in it",
        text if text.starts_with("dialogue:") => "begins like those of the protocol itself",
        _ => return name,
    };
    errors.at(name.span(), format_args!("the name {wrong}; an event's name on the wire is like `new-post`"));
    LitStr::new("misnamed", name.span())
}

/// Converts a name: `NewPost` to `new-post`, `HTTPError` to `http-error`.
fn kebab(ident: &str) -> String {
    let chars: Vec<char> = ident.chars().collect();
    let mut name = String::with_capacity(ident.len() + 4);
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| chars.get(i));
        let after = chars.get(i + 1);
        let starts_word = c.is_uppercase()
            && before.is_some_and(|before| {
                *before != '_' && (!before.is_uppercase() || after.is_some_and(|after| after.is_lowercase()))
            });
        if starts_word {
            name.push('-');
        }
        match c {
            '_' => name.push('-'),
            c => name.extend(c.to_lowercase()),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_kebab_case() {
        let cases = [
            ("Message", "message"),
            ("NewPost", "new-post"),
            ("HTTPError", "http-error"),
            ("V2Message", "v2-message"),
            ("Über", "über"),
            ("Snake_Case", "snake-case"),
        ];
        for (rust, wire) in cases {
            assert_eq!(kebab(rust), wire);
        }
    }
}
