//! Macros of `dialogue`; use them through that crate.

use proc_macro::TokenStream;

/// Makes a type an event. See `dialogue::event`.
#[proc_macro_attribute]
pub fn event(_args: TokenStream, item: TokenStream) -> TokenStream {
    item
}

/// `($crate) body`: what `dialogue::rooms!` forwards to.
#[doc(hidden)]
#[proc_macro]
pub fn __rooms(_input: TokenStream) -> TokenStream {
    TokenStream::new()
}
