//! What `#[serde(…)]` says of names.

use syn::{Attribute, Fields, LitStr, Token, meta::ParseNestedMeta, parse::ParseStream, token};

use crate::options;

/// The fields that have another name on the wire: `(in Rust, on the wire)`.
pub(super) fn renames(item: &[Attribute], fields: &Fields) -> Vec<(String, String)> {
    let rule = option(item, "rename_all");
    let names = fields.iter().filter_map(|field| {
        let rust = field.ident.as_ref()?.to_string();
        let plain = rust.strip_prefix("r#").unwrap_or(&rust);
        let wire = match (option(&field.attrs, "rename"), &rule) {
            (Some(wire), _) => wire,
            (None, Some(rule)) => apply(rule, plain),
            (None, None) => plain.to_owned(),
        };
        (rust != wire).then_some((rust, wire))
    });
    names.collect()
}

/// The text of `name = "…"` or `name(deserialize = "…")`: data comes in under the latter.
fn option(attributes: &[Attribute], name: &str) -> Option<String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        // What is malformed is serde's to say.
        let _ = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident(name) {
                found = text(&meta)?.or(found.take());
            }
            options::skip_until(meta.input, ',');
            Ok(())
        });
    }
    found
}

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

/// serde's rule for the name of a field, which is taken to be in snake case.
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

#[cfg(test)]
mod tests {
    use syn::{ItemStruct, parse_quote};

    use super::*;

    #[test]
    fn finds_the_names_that_data_comes_in_under() {
        let item: ItemStruct = parse_quote! {
            #[serde(deny_unknown_fields, rename_all = "camelCase")]
            struct Message {
                text: String,
                reply_to: u64,
                r#type: u8,
                #[serde(default = "now", rename = "t")]
                sent_at: u64,
                #[serde(rename(serialize = "out", deserialize = "in"))]
                direction: u8,
            }
        };
        let renames = renames(&item.attrs, &item.fields);
        let renames: Vec<(&str, &str)> = renames.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            renames,
            [("reply_to", "replyTo"), ("r#type", "type"), ("sent_at", "t"), ("direction", "in")]
        );
    }
}
