//! A text with `{field}` in it, which expands to a `format!`.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Ident, LitStr, Member, Path, Result};

pub(super) struct Template {
    pub(super) span: Span,
    pieces: Vec<Piece>,
}

enum Piece {
    Text(String),
    /// A field and its format specification, which stands behind a `:` as in `format!`.
    Field(Member, String),
}

impl Template {
    pub(super) fn parse(text: &LitStr) -> Result<Template> {
        let span = text.span();
        let wrong = |message: &str| Err(syn::Error::new(span, message));
        let mut pieces = Vec::new();
        let (mut plain, source) = (String::new(), text.value());
        let mut rest = source.as_str();
        while let Some(at) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = after.strip_prefix("{{").or_else(|| after.strip_prefix("}}")) {
                plain.push_str(after_brace(rest, at));
                rest = after;
                continue;
            }
            let Some(inside) = after.strip_prefix('{') else {
                return wrong("there is a `}` without `{`; a brace itself is written `}}`");
            };
            let Some((placeholder, after)) = inside.split_once('}') else {
                return wrong("there is a `{` without `}`; a brace itself is written `{{`");
            };
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            let (name, format) = placeholder.split_once(':').unwrap_or((placeholder, ""));
            pieces.push(Piece::Field(member(name.trim(), span), format.trim().to_owned()));
            rest = after;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        Ok(Template { span, pieces })
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &Member> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(field, _) => Some(field),
            Piece::Text(_) => None,
        })
    }

    /// Returns the length of the text without its fields, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.plain().len()
    }

    /// Returns the text without its fields.
    fn plain(&self) -> String {
        let plain = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Field(..) => String::new(),
        };
        self.pieces.iter().map(plain).collect()
    }

    /// Expands to an expression of type `String`. It has the text's span, so that a field without `Display` is reported
    /// there.
    pub(super) fn expand(&self, krate: &Path) -> TokenStream {
        let (mut format, mut arguments) = (String::new(), Vec::new());
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => format.push_str(&text.replace('{', "{{").replace('}', "}}")),
                Piece::Field(field, spec) => {
                    format.push_str(&if spec.is_empty() { "{}".to_owned() } else { format!("{{:{spec}}}") });
                    let this = Ident::new("self", Span::call_site().located_at(self.span));
                    let field = quote_spanned!(self.span=> &#this.#field);
                    arguments.push(quote!(#krate::__private::text(#field)));
                }
            }
        }
        if arguments.is_empty() {
            let plain = LitStr::new(&self.plain(), self.span);
            return quote!(::std::borrow::ToOwned::to_owned(#plain));
        }
        let format = LitStr::new(&format, self.span);
        quote!(::std::format!(#format #(, #arguments)*))
    }
}

/// Returns the brace that `{{` or `}}` at `at` stands for.
fn after_brace(text: &str, at: usize) -> &str {
    text.get(at..at + 1).unwrap_or_default()
}

/// Parses a field's name. Text that is no name becomes `_`, and is reported as an unknown field.
fn member(name: &str, span: Span) -> Member {
    let mut member = syn::parse_str(name).unwrap_or_else(|_| Ident::new("_", span).into());
    match &mut member {
        Member::Named(ident) => ident.set_span(span),
        Member::Unnamed(index) => index.span = span,
    }
    member
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn made(text: &LitStr) -> std::result::Result<String, String> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        Ok(template.expand(&parse_quote!(d)).to_string().replace(' ', ""))
    }

    #[test]
    fn fields_and_braces() {
        assert_eq!(
            made(&parse_quote!("{a} is {b:.2}!")).unwrap(),
            "::std::format!(\"{}is{:.2}!\",d::__private::text(&self.a),d::__private::text(&self.b))"
        );
        assert_eq!(made(&parse_quote!("{{x}}")).unwrap(), "::std::borrow::ToOwned::to_owned(\"{x}\")");
        assert!(made(&parse_quote!("{x")).unwrap_err().contains("`{` without `}`"));
        assert!(made(&parse_quote!("x}")).unwrap_err().contains("`}` without `{`"));
    }
}
