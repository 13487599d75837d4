use std::{borrow::Cow, rc::Rc, sync::Arc};

/// A field that is text.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` is not text",
    label = "is not text",
    note = "`contains`, `does_not_contain`, `email`, `ip`, `ipv4`, `ipv6`, `non_control_character` and `url` are for a `String`, `&str`, `Cow<str>`, or an `Option`, `Box`, `Rc` or `Arc` of one; for other types write `custom(function = …)`"
)]
pub trait HasText {
    /// The text, if there is a value.
    fn text(&self) -> Option<&str>;
}

impl HasText for str {
    #[inline]
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl HasText for String {
    #[inline]
    fn text(&self) -> Option<&str> {
        Some(self)
    }
}

impl<T: HasText> HasText for Option<T> {
    #[inline]
    fn text(&self) -> Option<&str> {
        self.as_ref().and_then(T::text)
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: HasText + ?Sized> HasText for $pointer {
            #[inline]
            fn text(&self) -> Option<&str> {
                (**self).text()
            }
        }
    )*};
}
pointers!(&T, Box<T>, Rc<T>, Arc<T>);

impl<T: HasText + ToOwned + ?Sized> HasText for Cow<'_, T> {
    #[inline]
    fn text(&self) -> Option<&str> {
        (**self).text()
    }
}
