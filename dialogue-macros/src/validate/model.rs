//! The meaning of validation rules, and all checks of them.

use std::cmp::Ordering;

use proc_macro2::Span;
use syn::{
    Data, DeriveInput, Expr, ExprLit, Fields, GenericArgument, Generics, Ident, Index, Lit, LitBool, LitStr,
    Member, Path, PathArguments, PathSegment, Token, Type, UnOp, ext::IdentExt, spanned::Spanned,
};

use super::{
    serde,
    syntax::{self, Place, written},
};
use crate::diag::{self, Errors};

pub(super) struct Validation {
    pub(super) krate: Path,
    pub(super) ident: Ident,
    pub(super) generics: Generics,
    /// The shape of a struct, or one for each variant of an enum.
    pub(super) shapes: Vec<Shape>,
    pub(super) schemas: Vec<Schema>,
}

/// The fields of a struct or of a variant.
pub(super) struct Shape {
    pub(super) variant: Option<Ident>,
    pub(super) fields: Vec<Field>,
}

pub(super) struct Field {
    pub(super) member: Member,
    pub(super) ty: Type,
    /// The JSON Pointer of the field below the item.
    pub(super) path: String,
    pub(super) rules: Vec<Rule>,
}

pub(super) struct Rule {
    pub(super) name: Ident,
    pub(super) kind: Kind,
    pub(super) message: Option<LitStr>,
}

pub(super) enum Kind {
    Length {
        min: Option<Expr>,
        max: Option<Expr>,
    },
    Range {
        lower: Bound,
        upper: Bound,
    },
    /// A text that the field must contain, or must not.
    Pattern(LitStr),
    /// The other field, and its name on the wire.
    MustMatch(Member, String),
    /// The user's function, and the number of `Option`s around the value.
    Custom(Path, usize),
    Nested,
    /// A rule without arguments, by the name of the runtime's function.
    Plain(&'static str),
}

pub(super) enum Bound {
    Included(Expr),
    Excluded(Expr),
    Unbounded,
}

/// A rule about the whole item.
pub(super) struct Schema {
    pub(super) name: Ident,
    pub(super) function: Path,
    pub(super) message: Option<LitStr>,
    /// True if the rule runs only when every field is valid.
    pub(super) skip_on_field_errors: bool,
}

/// Checks the rules. Returns `None` for a union, which has no form on the wire.
pub(super) fn check(item: DeriveInput, dialogue: &Path, errors: &mut Errors) -> Option<Validation> {
    let (krate, schemas) = of_item(&item, dialogue, errors);
    let attributes = serde::Attributes::of(&item.attrs);
    let shapes = match &item.data {
        Data::Struct(data) => vec![Shape {
            variant: None,
            fields: fields(&data.fields, &attributes.pointers(&data.fields), errors),
        }],
        Data::Enum(data) => {
            data.variants.iter().map(|variant| variant_shape(variant, &attributes, errors)).collect()
        }
        Data::Union(data) => {
            errors.at(
                data.union_token.span,
                "rules are for the fields of a struct or an enum; a union has no form on the wire",
            );
            return None;
        }
    };
    Some(Validation { krate, ident: item.ident, generics: item.generics, shapes, schemas })
}

fn of_item(item: &DeriveInput, dialogue: &Path, errors: &mut Errors) -> (Path, Vec<Schema>) {
    let mut krate = dialogue.clone();
    let mut schemas = Vec::new();
    for mut rule in syntax::rules(&item.attrs, Place::Item, errors) {
        if rule.form.name == "crate" {
            let path = rule
                .value
                .take()
                .ok_or_else(|| written(&rule.name, rule.form))
                .and_then(|value| path(&value));
            krate = errors.ok(path).map_or(krate, ours);
            continue;
        }
        let skip = match take(&mut rule, "skip_on_field_errors") {
            None | Some((_, None)) => Ok(true),
            Some((_, Some(Expr::Lit(ExprLit { lit: Lit::Bool(LitBool { value, .. }), .. })))) => Ok(value),
            Some((key, _)) => Err(syn::Error::new(key.span(), "`skip_on_field_errors` is `true` or `false`")),
        };
        let skip_on_field_errors = errors.ok(skip).unwrap_or(true);
        if let Some(function) = only(&mut rule, errors).and_then(|value| errors.ok(path(&value))) {
            schemas.push(Schema { name: rule.name, function, message: rule.message, skip_on_field_errors });
        }
    }
    (krate, schemas)
}

/// Returns the path as if the derive had written it: rustc marks an argument only if the path of the called function is
/// of the same expansion.
fn ours(path: Path) -> Path {
    let at = Span::call_site();
    let segment = |mut segment: PathSegment| {
        // `$crate` resolves by its span.
        if segment.ident != "$crate" {
            segment.ident.set_span(at);
        }
        segment
    };
    Path {
        leading_colon: path.leading_colon.map(|_| Token![::](at)),
        segments: path.segments.into_iter().map(segment).collect(),
    }
}

fn variant_shape(variant: &syn::Variant, item: &serde::Attributes, errors: &mut Errors) -> Shape {
    if let Some(rule) = variant.attrs.iter().find(|attribute| attribute.path().is_ident("validate")) {
        errors.on(rule, "rules go on the fields of a variant, or on the enum");
    }
    let pointers = item.pointers_in(variant);
    Shape { variant: Some(variant.ident.clone()), fields: fields(&variant.fields, &pointers, errors) }
}

fn fields(fields: &Fields, pointers: &[String], errors: &mut Errors) -> Vec<Field> {
    let members: Vec<Member> = fields.members().collect();
    let names: Vec<(Member, &str)> =
        members.iter().cloned().zip(pointers.iter().map(String::as_str)).collect();
    let field = |(field, (member, path)): (&syn::Field, &(Member, &str))| {
        let mut rules: Vec<Rule> = Vec::new();
        for rule in syntax::rules(&field.attrs, Place::Field, errors) {
            let repeatable = ["contains", "does_not_contain", "custom"].contains(&rule.form.name);
            if !repeatable && rules.iter().any(|other| other.name == rule.name) {
                errors.at(rule.name.span(), format_args!("rule `{}` is given twice", rule.name));
                continue;
            }
            rules.extend(of_field(rule, field, &names, errors));
        }
        Field { member: member.clone(), ty: field.ty.clone(), path: (*path).to_owned(), rules }
    };
    fields.iter().zip(&names).map(field).collect()
}

fn of_field(
    mut rule: syntax::Rule,
    field: &syn::Field,
    names: &[(Member, &str)],
    errors: &mut Errors,
) -> Option<Rule> {
    let kind = match rule.form.name {
        "length" => length(&mut rule, errors)?,
        "range" => range(&mut rule, errors)?,
        "contains" | "does_not_contain" => {
            let value = only(&mut rule, errors)?;
            Kind::Pattern(errors.ok(text(&value))?)
        }
        "must_match" => must_match(&mut rule, names, errors)?,
        "custom" => {
            let value = only(&mut rule, errors)?;
            Kind::Custom(errors.ok(path(&value))?, options(&field.ty))
        }
        "nested" => Kind::Nested,
        "ip" => ip(&mut rule, errors),
        plain => Kind::Plain(plain),
    };
    Some(Rule { name: rule.name, kind, message: rule.message })
}

/// Removes an argument, and returns its key, and its value if it has one.
fn take(rule: &mut syntax::Rule, key: &str) -> Option<(Ident, Option<Expr>)> {
    let at = rule.arguments.iter().position(|(given, _)| given == key)?;
    Some(rule.arguments.swap_remove(at))
}

/// Removes an argument that must have a value.
fn value(rule: &mut syntax::Rule, key: &str, errors: &mut Errors) -> Option<(Ident, Expr)> {
    match take(rule, key)? {
        (key, Some(value)) => Some((key, value)),
        (key, None) => {
            rule.is_broken = true;
            errors.at(key.span(), format_args!("`{key}` needs a value: `{}`", rule.form.form));
            None
        }
    }
}

/// Returns the value of a rule's only argument.
fn only(rule: &mut syntax::Rule, errors: &mut Errors) -> Option<Expr> {
    let name = rule.arguments.first().map(|(key, _)| key.to_string());
    let value = rule.value.take().or_else(|| Some(value(rule, &name?, errors)?.1));
    if value.is_none() && !rule.is_broken {
        errors.push(written(&rule.name, rule.form));
    }
    value
}

fn length(rule: &mut syntax::Rule, errors: &mut Errors) -> Option<Kind> {
    let [min, max, equal] = ["min", "max", "equal"].map(|key| {
        let (key, value) = value(rule, key, errors)?;
        let is_count = match number(&value) {
            Some(Number::Integer(number)) => number >= 0,
            Some(Number::Float(_)) => false,
            None => !is_literal(&value) || is_integer(&value),
        };
        if is_count {
            return Some((key, value));
        }
        rule.is_broken = true;
        errors.on(value, format_args!("a length is a whole number that is not negative: `{key} = 1`"));
        None
    });
    match (min, max, equal) {
        (None, None, Some((_, equal))) => Some(Kind::Length { min: Some(equal.clone()), max: Some(equal) }),
        (_, _, Some((key, _))) => {
            errors.at(key.span(), "a length that is `equal` to one has no `min` or `max` beside it");
            None
        }
        (None, None, None) => {
            missing_bound(rule, errors);
            None
        }
        (min, max, None) => {
            let (min, max) = (min.map(|(_, value)| value), max.map(|(_, value)| value));
            ordered(min.as_ref(), max.as_ref(), false, errors)?;
            Some(Kind::Length { min, max })
        }
    }
}

fn range(rule: &mut syntax::Rule, errors: &mut Errors) -> Option<Kind> {
    let mut bound = |inclusive: &str, exclusive: &str| {
        let included = value(rule, inclusive, errors);
        let excluded = value(rule, exclusive, errors);
        for (key, value) in included.iter().chain(&excluded) {
            if is_literal(value) && number(value).is_none() && !is_integer(value) {
                rule.is_broken = true;
                errors.on(value, format_args!("a bound is a number: `{key} = 1`"));
                return Bound::Unbounded;
            }
        }
        match (included, excluded) {
            (Some(_), Some((key, _))) => {
                rule.is_broken = true;
                errors.at(
                    key.span(),
                    format_args!("`{inclusive}` and `{exclusive}` bound the same end; drop one"),
                );
                Bound::Unbounded
            }
            (Some((_, value)), None) => Bound::Included(value),
            (None, Some((_, value))) => Bound::Excluded(value),
            (None, None) => Bound::Unbounded,
        }
    };
    let (lower, upper) = (bound("min", "exclusive_min"), bound("max", "exclusive_max"));
    if let (Bound::Unbounded, Bound::Unbounded) = (&lower, &upper) {
        missing_bound(rule, errors);
        return None;
    }
    let exclusive = matches!(lower, Bound::Excluded(_)) || matches!(upper, Bound::Excluded(_));
    ordered(lower.value(), upper.value(), exclusive, errors)?;
    Some(Kind::Range { lower, upper })
}

impl Bound {
    fn value(&self) -> Option<&Expr> {
        match self {
            Bound::Included(value) | Bound::Excluded(value) => Some(value),
            Bound::Unbounded => None,
        }
    }
}

fn missing_bound(rule: &syntax::Rule, errors: &mut Errors) {
    if !rule.is_broken {
        errors.push(written(&rule.name, rule.form));
    }
}

/// Checks that a value can lie between the bounds, as far as literals show.
fn ordered(min: Option<&Expr>, max: Option<&Expr>, exclusive: bool, errors: &mut Errors) -> Option<()> {
    let order = min.and_then(number).zip(max.and_then(number)).and_then(|(min, max)| min.partial_cmp(&max));
    match order {
        Some(Ordering::Greater) => errors.on(max, "no value is valid: this is less than the lower bound"),
        Some(Ordering::Equal) if exclusive => {
            errors.on(max, "no value is valid: both bounds are the same, and one is exclusive");
        }
        _ => return Some(()),
    }
    None
}

fn must_match(rule: &mut syntax::Rule, names: &[(Member, &str)], errors: &mut Errors) -> Option<Kind> {
    let value = only(rule, errors)?;
    let other = match &value {
        Expr::Path(path) => path.path.get_ident().cloned().map(Member::Named),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.parse::<Ident>().ok().map(Member::Named),
        Expr::Lit(ExprLit { lit: Lit::Int(index), .. }) => {
            let index = Index { index: index.base10_parse().ok()?, span: index.span() };
            Some(Member::Unnamed(index))
        }
        _ => None,
    };
    let Some(other) = other else {
        errors.on(value, "`other` is a field: `must_match(other = field)`");
        return None;
    };
    let spelled = |member: &Member| match member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    };
    if let Some((_, path)) = names.iter().find(|(member, _)| *member == other) {
        let name = match path.rsplit_once('/') {
            Some((_, name)) => name.replace("~1", "/").replace("~0", "~"),
            // A flattened field, for example, has no name on the wire.
            None => spelled(&other),
        };
        return Some(Kind::MustMatch(other, name));
    }
    let known: Vec<String> = names.iter().map(|(member, _)| spelled(member)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    errors.on(&value, diag::unknown("field", &spelled(&other), &known));
    None
}

/// Parses `ip`, `ip(v4)`, `ip(v4 = true)`.
fn ip(rule: &mut syntax::Rule, errors: &mut Errors) -> Kind {
    let mut wants = |key: &str| match take(rule, key) {
        None => false,
        Some((_, None)) => true,
        Some((_, Some(Expr::Lit(ExprLit { lit: Lit::Bool(LitBool { value, .. }), .. })))) => value,
        Some((key, Some(_))) => {
            errors.at(key.span(), format_args!("`{key}` is `true` or `false`"));
            true
        }
    };
    Kind::Plain(match (wants("v4"), wants("v6")) {
        (true, false) => "ipv4",
        (false, true) => "ipv6",
        _ => "ip",
    })
}

/// Parses a path, also from a string literal.
fn path(value: &Expr) -> syn::Result<Path> {
    let none = || syn::Error::new_spanned(value, "expected a path, like `crate::rules::one_line`");
    match value {
        Expr::Path(path) if path.qself.is_none() => Ok(path.path.clone()),
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => text.parse().map_err(|_| none()),
        Expr::Closure(_) => Err(syn::Error::new(
            value.span(),
            "a closure can't stand here; write a function, and its path: `function = path`",
        )),
        _ => Err(none()),
    }
}

fn text(value: &Expr) -> syn::Result<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        _ => Err(syn::Error::new_spanned(value, "expected text: `\"…\"`")),
    }
}

#[derive(Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.partial_cmp(other) == Some(Ordering::Equal)
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Number::Integer(a), Number::Integer(b)) => a.partial_cmp(b),
            (Number::Float(a), Number::Float(b)) => a.partial_cmp(b),
            // Bounds of different types are left to the compiler.
            _ => None,
        }
    }
}

/// Returns the value of a literal number.
fn number(value: &Expr) -> Option<Number> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(lit), .. }) => lit.base10_parse().ok().map(Number::Integer),
        Expr::Lit(ExprLit { lit: Lit::Float(lit), .. }) => lit.base10_parse().ok().map(Number::Float),
        Expr::Unary(unary) if matches!(unary.op, UnOp::Neg(_)) => match number(&unary.expr)? {
            Number::Integer(number) => number.checked_neg().map(Number::Integer),
            Number::Float(number) => Some(Number::Float(-number)),
        },
        _ => None,
    }
}

/// Returns whether an expression is a literal integer, even one beyond the range of [`number`].
fn is_integer(value: &Expr) -> bool {
    matches!(value, Expr::Lit(ExprLit { lit: Lit::Int(_), .. }))
}

fn is_literal(value: &Expr) -> bool {
    matches!(value, Expr::Lit(_)) || number(value).is_some()
}

/// Returns the number of `Option`s around a type, as it is usually written.
fn options(ty: &Type) -> usize {
    let path = match ty {
        Type::Path(path) => &path.path,
        // `$ty:ty` of a `macro_rules!`.
        Type::Group(group) => return options(&group.elem),
        _ => return 0,
    };
    match path.segments.last() {
        Some(last) if last.ident == "Option" => match &last.arguments {
            PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                Some(GenericArgument::Type(inner)) => 1 + options(inner),
                _ => 0,
            },
            _ => 0,
        },
        _ => 0,
    }
}
