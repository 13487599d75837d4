//! Where generated code seems to stand.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};

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

/// The head of an impl that stands at `span`.
pub(crate) fn implement(span: Span, what: TokenStream) -> TokenStream {
    let implement = Ident::new("impl", span);
    let what = anchor(span, what);
    // An empty `<>` of the macro's own, or rustc offers to make what it can't find a parameter there.
    quote!(#[automatically_derived] #implement<> #what)
}

/// `tokens` between delimiters that stand at `span`.
pub(crate) fn group(delimiter: Delimiter, span: Span, tokens: TokenStream) -> TokenStream {
    let mut group = Group::new(delimiter, tokens);
    group.set_span(span);
    TokenTree::Group(group).into()
}
