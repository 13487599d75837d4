//! The places of fields in JSON, by the names in `#[serde(…)]`.

use syn::{
    Attribute, Fields, LitStr, Token, Variant, ext::IdentExt, meta::ParseNestedMeta, parse::ParseStream,
    token,
};

use crate::options;

/// The `#[serde(…)]` attributes of one item, variant or field. Names are those for deserialising, since incoming data
/// has them.
#[derive(Default)]
pub(super) struct Attributes {
    rename: Option<String>,
    rename_all: Option<String>,
    rename_all_fields: Option<String>,
    tag: Option<String>,
    content: Option<String>,
    untagged: bool,
    transparent: bool,
    flatten: bool,
    skip: bool,
}

impl Attributes {
    pub(super) fn of(attributes: &[Attribute]) -> Self {
        let mut parsed = Attributes::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            // serde's own derive reports malformed attributes.
            let _ = attribute.parse_nested_meta(|meta| {
                parsed.option(&meta)?;
                options::skip_until(meta.input, ',');
                Ok(())
            });
        }
        parsed
    }

    fn option(&mut self, meta: &ParseNestedMeta<'_>) -> syn::Result<()> {
        let Some(name) = meta.path.get_ident() else { return Ok(()) };
        let slot = match name.to_string().as_str() {
            "rename" => &mut self.rename,
            "rename_all" => &mut self.rename_all,
            "rename_all_fields" => &mut self.rename_all_fields,
            "tag" => &mut self.tag,
            "content" => &mut self.content,
            flag => {
                match flag {
                    "untagged" => self.untagged = true,
                    "transparent" => self.transparent = true,
                    "flatten" => self.flatten = true,
                    "skip" | "skip_deserializing" => self.skip = true,
                    _ => {}
                }
                return Ok(());
            }
        };
        *slot = text(meta)?.or(slot.take());
        Ok(())
    }

    /// Returns the JSON Pointers from a struct with these attributes to its fields.
    pub(super) fn pointers(&self, fields: &Fields) -> Vec<String> {
        match self.transparent {
            true => fields.iter().map(|_| String::new()).collect(),
            false => pointers(fields, self.rename_all.as_deref()),
        }
    }

    /// Returns the JSON Pointers from an enum with these attributes to the fields of a variant.
    pub(super) fn pointers_in(&self, variant: &Variant) -> Vec<String> {
        let own = Attributes::of(&variant.attrs);
        let rule = own.rename_all.as_ref().or(self.rename_all_fields.as_ref());
        let name = || {
            let plain = variant.ident.unraw().to_string();
            own.rename.unwrap_or_else(|| match &self.rename_all {
                Some(rule) => of_variant(rule, &plain),
                None => plain,
            })
        };
        let before = match (&self.tag, &self.content) {
            _ if self.untagged || own.untagged => String::new(),
            (Some(_), Some(content)) => pointer(content),
            (Some(_), None) => String::new(),
            (None, _) => pointer(&name()),
        };
        let fields = pointers(&variant.fields, rule.map(String::as_str));
        fields.into_iter().map(|field| format!("{before}{field}")).collect()
    }
}

fn pointers(fields: &Fields, rule: Option<&str>) -> Vec<String> {
    // serde treats a tuple with one field as that field, and counts the fields that it reads.
    let is_newtype = matches!(fields, Fields::Unnamed(fields) if fields.unnamed.len() == 1);
    let mut index = 0;
    let of_field = |field: &syn::Field| {
        let own = Attributes::of(&field.attrs);
        let Some(ident) = &field.ident else {
            let pointer = if is_newtype { String::new() } else { format!("/{index}") };
            index += usize::from(!own.skip);
            return pointer;
        };
        let plain = ident.unraw().to_string();
        match (own.rename, rule) {
            _ if own.flatten => String::new(),
            (Some(name), _) => pointer(&name),
            (None, Some(rule)) => pointer(&apply(rule, &plain)),
            (None, None) => pointer(&plain),
        }
    };
    fields.iter().map(of_field).collect()
}

/// Returns `/name`, with the two characters escaped that RFC 6901 names.
fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Parses the text of `name = "…"` or `name(deserialize = "…")`.
fn text(meta: &ParseNestedMeta<'_>) -> syn::Result<Option<String>> {
    let literal = |input: ParseStream<'_>| Ok(Some(input.parse::<LitStr>()?.value()));
    if meta.input.peek(Token![=]) {
        return literal(meta.value()?);
    }
    let mut found = None;
    if meta.input.peek(token::Paren) {
        meta.parse_nested_meta(|meta| {
            let value = literal(meta.value()?)?;
            if meta.path.is_ident("deserialize") {
                found = value;
            }
            Ok(())
        })?;
    }
    Ok(found)
}

/// Applies serde's rule for the name of a field, which it takes to be in snake case.
fn apply(rule: &str, field: &str) -> String {
    let pascal = || -> String {
        let capital = |word: &str| {
            let mut chars = word.chars();
            chars.next().into_iter().map(|first| first.to_ascii_uppercase()).chain(chars).collect::<String>()
        };
        field.split('_').map(capital).collect()
    };
    match rule {
        "UPPERCASE" | "SCREAMING_SNAKE_CASE" => field.to_ascii_uppercase(),
        "PascalCase" => pascal(),
        "camelCase" => {
            let pascal = pascal();
            let mut chars = pascal.chars();
            chars.next().into_iter().map(|first| first.to_ascii_lowercase()).chain(chars).collect()
        }
        "kebab-case" => field.replace('_', "-"),
        "SCREAMING-KEBAB-CASE" => field.to_ascii_uppercase().replace('_', "-"),
        _ => field.to_owned(),
    }
}

/// Applies serde's rule for the name of a variant, which it takes to be in Pascal case.
fn of_variant(rule: &str, variant: &str) -> String {
    let mut snake = String::new();
    for (index, c) in variant.char_indices() {
        if index > 0 && c.is_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    match rule {
        "PascalCase" => variant.to_owned(),
        "lowercase" => variant.to_ascii_lowercase(),
        "UPPERCASE" => variant.to_ascii_uppercase(),
        "camelCase" => {
            let mut chars = variant.chars();
            chars.next().into_iter().map(|first| first.to_ascii_lowercase()).chain(chars).collect()
        }
        "snake_case" => snake,
        rule => apply(rule, &snake),
    }
}

#[cfg(test)]
mod tests {
    use syn::{ItemEnum, ItemStruct, parse_quote};

    use super::*;

    #[test]
    fn finds_the_names_that_data_comes_in_under() {
        let item: ItemStruct = parse_quote! {
            #[serde(deny_unknown_fields, rename_all = "camelCase")]
            struct Message {
                text: String,
                reply_to: u64,
                r#type: u8,
                #[serde(default = "now", rename = "t/~")]
                sent_at: u64,
                #[serde(rename(serialize = "out", deserialize = "in"))]
                direction: u8,
                #[serde(flatten)]
                rest: Rest,
            }
        };
        let pointers = Attributes::of(&item.attrs).pointers(&item.fields);
        assert_eq!(pointers, ["/text", "/replyTo", "/type", "/t~1~0", "/in", ""]);
    }

    #[test]
    fn counts_what_has_no_name() {
        let pair: ItemStruct = parse_quote!(
            struct Pair(u8, #[serde(skip)] u8, u8);
        );
        assert_eq!(Attributes::default().pointers(&pair.fields), ["/0", "/1", "/1"]);
        let one: ItemStruct = parse_quote!(
            struct One(u8);
        );
        assert_eq!(Attributes::default().pointers(&one.fields), [""]);
        let one: ItemStruct = parse_quote!(
            #[serde(transparent)]
            struct One {
                a: u8,
            }
        );
        assert_eq!(Attributes::of(&one.attrs).pointers(&one.fields), [""]);
    }

    fn in_enum(item: &ItemEnum) -> Vec<String> {
        let attributes = Attributes::of(&item.attrs);
        item.variants.iter().flat_map(|variant| attributes.pointers_in(variant)).collect()
    }

    #[test]
    fn a_variant_stands_where_its_tag_says() {
        let body: ItemEnum = parse_quote! {
            enum Body {
                TwoWords { field_name: u8 },
                Newtype(u8),
                #[serde(rename = "x", rename_all = "camelCase")]
                Pair { field_name: u8 },
                #[serde(untagged)]
                Rest(u8, u8),
            }
        };
        assert_eq!(in_enum(&body), ["/TwoWords/field_name", "/Newtype", "/x/fieldName", "/0", "/1"]);
        let with = |attribute: Attribute| {
            let mut body = body.clone();
            body.attrs.push(attribute);
            in_enum(&body)[..2].to_vec()
        };
        assert_eq!(with(parse_quote!(#[serde(tag = "t")])), ["/field_name", ""]);
        assert_eq!(with(parse_quote!(#[serde(tag = "t", content = "c")])), ["/c/field_name", "/c"]);
        assert_eq!(with(parse_quote!(#[serde(untagged)])), ["/field_name", ""]);
        let renamed =
            with(parse_quote!(#[serde(rename_all = "kebab-case", rename_all_fields = "UPPERCASE")]));
        assert_eq!(renamed, ["/two-words/FIELD_NAME", "/newtype"]);
    }

    #[test]
    fn variants_are_renamed_by_serdes_rules() {
        let cases = [
            ("lowercase", "twowords"),
            ("UPPERCASE", "TWOWORDS"),
            ("PascalCase", "TwoWords"),
            ("camelCase", "twoWords"),
            ("snake_case", "two_words"),
            ("SCREAMING_SNAKE_CASE", "TWO_WORDS"),
            ("kebab-case", "two-words"),
            ("SCREAMING-KEBAB-CASE", "TWO-WORDS"),
        ];
        for (rule, name) in cases {
            assert_eq!(of_variant(rule, "TwoWords"), name);
        }
    }
}
