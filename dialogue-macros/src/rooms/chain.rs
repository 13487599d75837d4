//! `with [..]`: middleware, as a type or a constructor call.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Expr, Path, PathArguments, Result, Token, Type, parse::ParseStream, spanned::Spanned};

const FORM: &str =
    "middleware is a type, which is made with `Default`, or a constructor call: `Type::new(..)`";

/// One middleware of a chain.
pub(super) struct Entry {
    pub(super) ty: Type,
    /// The constructor call; without one the type's default.
    pub(super) make: Option<Expr>,
    pub(super) span: Span,
}

impl Entry {
    pub(super) fn parse(input: ParseStream<'_>) -> Result<Entry> {
        let at = input.span();
        let ahead = input.fork();
        // `Type<Parameter>` is a comparison to the parser of expressions: what is no call is tried as a type.
        if let Ok(call @ (Expr::Call(_) | Expr::MethodCall(_) | Expr::Struct(_))) = ahead.parse::<Expr>() {
            input.parse::<Expr>()?;
            return Entry::constructor(call);
        }
        let tokens = element(input);
        let ty: Type = syn::parse2(tokens).map_err(|_| syn::Error::new(at, FORM))?;
        let span = ty.span();
        Ok(Entry { ty, make: None, span })
    }

    fn constructor(call: Expr) -> Result<Entry> {
        let path = match &call {
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) if path.qself.is_none() && path.path.segments.len() > 1 => &path.path,
                _ => return Err(syn::Error::new_spanned(&call.func, FORM)),
            },
            other => return Err(syn::Error::new_spanned(other, FORM)),
        };
        let path = Path { leading_colon: path.leading_colon, segments: before_last(path) };
        let ty = Type::Path(syn::TypePath { attrs: Vec::new(), qself: None, path });
        let span = ty.span();
        Ok(Entry { ty, make: Some(call), span })
    }
}

/// `Type::<T>` of `Type::<T>::new`, as a type is written.
fn before_last(path: &Path) -> syn::punctuated::Punctuated<syn::PathSegment, Token![::]> {
    let count = path.segments.len().saturating_sub(1);
    let plain = |mut segment: syn::PathSegment| {
        if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
            arguments.colon2_token = None;
        }
        segment
    };
    path.segments.iter().take(count).cloned().map(plain).collect()
}

/// The tokens up to the next comma that is not between `<` and `>`.
fn element(input: ParseStream<'_>) -> TokenStream {
    let mut tokens = TokenStream::new();
    let mut depth = 0_usize;
    while let Some((tree, _)) = input.cursor().token_tree() {
        if let TokenTree::Punct(punct) = &tree {
            match punct.as_char() {
                ',' if depth == 0 => break,
                '<' => depth += 1,
                '>' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        tree.to_tokens(&mut tokens);
        if input.parse::<TokenTree>().is_err() {
            break;
        }
    }
    tokens
}
