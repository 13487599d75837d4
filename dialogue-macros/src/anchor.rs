//! Spans of generated code: the place in the source to which rustc's errors about it point.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};

/// Returns the same tokens with the first and the last as if written at `span`: rustc marks an item from its first
/// token to its last, and so marks the user's token. Names keep their spans, or an editor asked about that token would
/// offer each of them.
pub(crate) fn anchor(span: Span, tokens: impl ToTokens) -> TokenStream {
    const KEYWORDS: &[&str] = &["const", "enum", "fn", "for", "impl", "pub", "struct", "type"];
    let token = |mut token: TokenTree| {
        match &mut token {
            TokenTree::Group(group) => {
                *group = Group::new(group.delimiter(), anchor(span, group.stream()));
                group.set_span(span);
            }
            TokenTree::Ident(ident) if !KEYWORDS.iter().any(|keyword| ident == keyword) => {}
            keyword_or_punct => keyword_or_punct.set_span(span),
        }
        token
    };
    tokens.into_token_stream().into_iter().map(token).collect()
}

/// Returns the head of an impl that is placed at `span`.
pub(crate) fn implement(span: Span, what: TokenStream) -> TokenStream {
    let implement = Ident::new("impl", span);
    let what = anchor(span, what);
    // The empty `<>` belongs to the macro: without it rustc suggests adding a parameter there.
    quote!(#[automatically_derived] #implement<> #what)
}

/// Returns `tokens` between delimiters that are placed at `span`.
pub(crate) fn group(delimiter: Delimiter, span: Span, tokens: TokenStream) -> TokenStream {
    let mut group = Group::new(delimiter, tokens);
    group.set_span(span);
    TokenTree::Group(group).into()
}
