//! `with [..]`: middleware, as a type, a constructor call, a function or a closure.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{
    Expr, ExprClosure, Ident, Path, PathArguments, PathSegment, Result, Token, Type, ext::IdentExt,
    parse::ParseStream, spanned::Spanned,
};

use super::model;
use crate::{diag::Errors, path};

const FORM: &str = "middleware is a type, which is made from the server's state or with `Default`; a constructor call: \
     `Type::new(..)`; a function: `fn name`; or a closure: `async |cx, event, next| ..`";

/// The number of arguments of a function or a closure: the context, the event and the next middleware.
const ARGUMENTS: usize = 3;

/// One middleware of a chain.
pub(super) struct Entry {
    pub(super) form: Form,
    pub(super) span: Span,
}

/// The form of an entry.
pub(super) enum Form {
    Type(Type),
    /// A constructor call, and the type that it makes.
    Call(Type, Expr),
    Function(Path),
    Closure(ExprClosure),
}

impl Entry {
    pub(super) fn parse(input: ParseStream<'_>, errors: &mut Errors) -> Result<Entry> {
        let at = input.span();
        if input.peek(Token![fn]) {
            input.parse::<Token![fn]>()?;
            let path = path::of_type(input)?;
            return Ok(Entry::function(path, errors));
        }
        let ahead = input.fork();
        // The parser of expressions reads `Type<Parameter>` as a comparison: an expression that is no call is parsed
        // again as a type.
        match ahead.parse::<Expr>() {
            Ok(Expr::Closure(_)) => return Entry::closure(input.parse()?),
            Ok(call @ (Expr::Call(_) | Expr::MethodCall(_) | Expr::Struct(_))) => {
                input.parse::<Expr>()?;
                return Entry::constructor(call);
            }
            _ => {}
        }
        let tokens = element(input);
        let ty: Type = syn::parse2(tokens).map_err(|_| syn::Error::new(at, FORM))?;
        Ok(Entry::ty_or_function(ty, errors))
    }

    /// Parses `Type`. Only the spelling distinguishes types from functions here.
    fn ty_or_function(ty: Type, errors: &mut Errors) -> Entry {
        let span = ty.span();
        let form = match ty {
            Type::Path(ty) if ty.qself.is_none() && is_function(&ty.path) => {
                let name = model::spell(&ty.path);
                errors.at(
                    span,
                    format_args!(
                        "`{name}` is spelled like a function, which is listed with `fn`: `with [fn {name}]`"
                    ),
                );
                Form::Function(ty.path)
            }
            ty => Form::Type(ty),
        };
        Entry { form, span }
    }

    /// Parses `fn name`.
    fn function(path: Path, errors: &mut Errors) -> Entry {
        let span = path.span();
        // After `fn`, only a capital letter is an error: not every script has small letters.
        if !path.segments.last().is_some_and(|last| initial(&last.ident).is_some_and(char::is_uppercase)) {
            return Entry { span, form: Form::Function(path) };
        }
        let name = model::spell(&path);
        errors.at(
            span,
            format_args!("`{name}` is spelled like a type, which is listed without `fn`: `with [{name}]`"),
        );
        Entry { span, form: Form::Type(Type::Path(syn::TypePath { attrs: Vec::new(), qself: None, path })) }
    }

    /// Parses `async |cx, event, next| ..`.
    fn closure(closure: ExprClosure) -> Result<Entry> {
        let ExprClosure { inputs_begin, inputs, inputs_end, .. } = &closure;
        if inputs.len() != ARGUMENTS {
            let message = format!(
                "a closure in front of an event takes {ARGUMENTS} arguments: `async |cx, event, next| next.run(cx, event).await`"
            );
            return Err(syn::Error::new_spanned(quote!(#inputs_begin #inputs #inputs_end), message));
        }
        Ok(Entry { span: closure.span(), form: Form::Closure(closure) })
    }

    /// Parses `Type::new(..)`, `Type(..)`, `Type { .. }`, and methods on these that return the same type.
    fn constructor(call: Expr) -> Result<Entry> {
        let mut first = &call;
        while let Expr::MethodCall(method) = first {
            first = &method.receiver;
        }
        let path = match first {
            Expr::Call(call) => match &*call.func {
                Expr::Path(path) if path.qself.is_none() => made_by(&path.path),
                _ => None,
            },
            Expr::Struct(literal) if literal.qself.is_none() => made_by(&literal.path),
            _ => None,
        };
        let Some(path) = path else {
            let at = match first {
                Expr::Call(call) => &call.func,
                other => other,
            };
            return Err(syn::Error::new_spanned(at, FORM));
        };
        let ty = Type::Path(syn::TypePath { attrs: Vec::new(), qself: None, path });
        let span = ty.span();
        Ok(Entry { form: Form::Call(ty, call), span })
    }

    /// Returns the type of the entry, if it is written.
    pub(super) fn ty(&self) -> Option<&Type> {
        match &self.form {
            Form::Type(ty) | Form::Call(ty, _) => Some(ty),
            Form::Function(_) | Form::Closure(_) => None,
        }
    }
}

/// Returns whether a path ends like the name of a function.
fn is_function(path: &Path) -> bool {
    let plain = path.segments.iter().all(|segment| segment.arguments.is_none());
    plain && path.segments.last().is_some_and(|last| begins_small(&last.ident))
}

fn begins_small(ident: &Ident) -> bool {
    initial(ident).is_some_and(char::is_lowercase)
}

/// Returns the first letter after underscores.
fn initial(ident: &Ident) -> Option<char> {
    ident.unraw().to_string().trim_start_matches('_').chars().next()
}

/// Returns the type that `Type::<T>::new(..)`, `Enum::Variant(..)` or `module::Type::<T>(..)` constructs, in the syntax
/// of types.
fn made_by(path: &Path) -> Option<Path> {
    let is_type = |segment: &PathSegment| !begins_small(&segment.ident);
    let mut ends = path.segments.iter().rev();
    let last = ends.next()?;
    let count = match ends.next().is_some_and(is_type) {
        true => path.segments.len() - 1,
        false if is_type(last) => path.segments.len(),
        false => return None,
    };
    let plain = |mut segment: PathSegment| {
        if let PathArguments::AngleBracketed(arguments) = &mut segment.arguments {
            arguments.colon2_token = None;
        }
        segment
    };
    let segments = path.segments.iter().take(count).cloned().map(plain).collect();
    Some(Path { leading_colon: path.leading_colon, segments })
}

/// Returns the tokens up to the next comma that is not between `<` and `>`.
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
