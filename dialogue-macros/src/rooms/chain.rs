//! `with [..]`: middleware, as a type, a constructor call, a function or a closure.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Expr, ExprClosure, Path, PathArguments, Result, Token, Type, parse::ParseStream, spanned::Spanned,
};

use crate::path;

const FORM: &str = "middleware is a type, which is made from the server's state or with `Default`; a constructor call: \
     `Type::new(..)`; a function: `fn name`; or a closure: `async |cx, event, next| ..`";

/// One middleware of a chain.
pub(super) struct Entry {
    pub(super) form: Form,
    pub(super) span: Span,
}

/// How it is written.
pub(super) enum Form {
    Type(Type),
    /// A constructor call, and the type that it makes.
    Call(Type, Expr),
    Function(Path),
    Closure(ExprClosure),
}

impl Entry {
    pub(super) fn parse(input: ParseStream<'_>) -> Result<Entry> {
        let at = input.span();
        if input.peek(Token![fn]) {
            input.parse::<Token![fn]>()?;
            let path = path::of_type(input)?;
            return Ok(Entry { span: path.span(), form: Form::Function(path) });
        }
        let ahead = input.fork();
        // `Type<Parameter>` is a comparison to the parser of expressions: what is no call is tried as a type.
        match ahead.parse::<Expr>() {
            Ok(Expr::Closure(_)) => {
                let closure: ExprClosure = input.parse()?;
                return Ok(Entry { form: Form::Closure(closure), span: at });
            }
            Ok(call @ (Expr::Call(_) | Expr::MethodCall(_) | Expr::Struct(_))) => {
                input.parse::<Expr>()?;
                return Entry::constructor(call);
            }
            _ => {}
        }
        let tokens = element(input);
        let ty: Type = syn::parse2(tokens).map_err(|_| syn::Error::new(at, FORM))?;
        let span = ty.span();
        Ok(Entry { form: Form::Type(ty), span })
    }

    /// `Type::new(..)`, and methods on it that yield the same type.
    fn constructor(call: Expr) -> Result<Entry> {
        let mut first = &call;
        while let Expr::MethodCall(method) = first {
            first = &method.receiver;
        }
        let path = match first {
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) if path.qself.is_none() && path.path.segments.len() > 1 => &path.path,
                _ => return Err(syn::Error::new_spanned(&call.func, FORM)),
            },
            other => return Err(syn::Error::new_spanned(other, FORM)),
        };
        let path = Path { leading_colon: path.leading_colon, segments: before_last(path) };
        let ty = Type::Path(syn::TypePath { attrs: Vec::new(), qself: None, path });
        let span = ty.span();
        Ok(Entry { form: Form::Call(ty, call), span })
    }

    /// The type that it is a value of, where that is written.
    pub(super) fn ty(&self) -> Option<&Type> {
        match &self.form {
            Form::Type(ty) | Form::Call(ty, _) => Some(ty),
            Form::Function(_) | Form::Closure(_) => None,
        }
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
