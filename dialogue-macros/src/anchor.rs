//! Where generated code seems to stand.

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use quote::ToTokens;

/// The same tokens as if written at `span`, so that rustc, which marks an item from its first token to its last, marks
/// the user's token. Names stay where they are: an editor asked about that token would otherwise offer every one.
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

/// `tokens` between delimiters that stand at `span`.
pub(crate) fn group(delimiter: Delimiter, span: Span, tokens: TokenStream) -> TokenStream {
    let mut group = Group::new(delimiter, tokens);
    group.set_span(span);
    TokenTree::Group(group).into()
}
