//! The definition of an event as canonical text: the same definition always has the same text.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{DeriveInput, Visibility};

/// Returns the tokens of `item`, with one space between any two, without the parts that can't change the wire: docs,
/// visibility, derives and every attribute but serde's and validation rules.
pub(super) fn shape(item: &DeriveInput) -> String {
    let mut item = item.clone();
    item.vis = Visibility::Inherited;
    let mut subject = super::syntax::Subject { item };
    for attributes in subject.attributes_mut() {
        attributes.retain(|a| a.path().is_ident("serde") || a.path().is_ident("validate"));
    }
    strip_fields(&mut subject.item);
    let mut text = String::new();
    write(subject.item.into_token_stream(), &mut text);
    text.truncate(text.trim_end().len());
    text
}

fn strip_fields(item: &mut DeriveInput) {
    if let syn::Data::Struct(data) = &mut item.data {
        data.fields.iter_mut().for_each(|field| field.vis = Visibility::Inherited);
    }
}

/// Writes the tokens. `TokenStream::to_string` is no alternative: its spacing follows the source and the compiler.
fn write(tokens: TokenStream, text: &mut String) {
    for tree in tokens {
        match tree {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("( ", ") "),
                    Delimiter::Brace => ("{ ", "} "),
                    Delimiter::Bracket => ("[ ", "] "),
                    Delimiter::None => ("", ""),
                };
                text.push_str(open);
                write(group.stream(), text);
                // The formatter may have added a comma at the end.
                let end = text.strip_suffix(", ").map_or(text.len(), str::len);
                text.truncate(end);
                if !text.ends_with(' ') {
                    text.push(' ');
                }
                text.push_str(close);
            }
            TokenTree::Punct(punct) => {
                text.push(punct.as_char());
                text.push(' ');
            }
            other => {
                text.push_str(&other.to_string());
                text.push(' ');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    #[test]
    fn leaves_out_what_the_wire_does_not_show() {
        let bare: DeriveInput = parse_quote!(
            struct Message {
                #[serde(rename = "t")]
                text: Vec<String>,
            }
        );
        let full: DeriveInput = parse_quote! {
            /// Said by a member.
            #[derive(Debug)]
            pub struct Message {
                /// What.
                #[serde(rename = "t")] pub text: Vec < String >
            }
        };
        assert_eq!(shape(&bare), shape(&full));
        assert_eq!(shape(&bare), "struct Message { # [ serde ( rename = \"t\" ) ] text : Vec < String > }");
    }
}
