use std::{
    borrow::Cow,
    fmt::{self, Debug},
    ops::{Bound, RangeBounds},
    rc::Rc,
    sync::Arc,
};

use super::{At, Message, Violations, broken};

/// `range(min = …, max = …)`
#[inline]
pub fn range<T: InRange>(
    found: &mut Violations,
    at: At,
    message: Message,
    value: &T,
    lower: Bound<T::Number>,
    upper: Bound<T::Number>,
) {
    // A NaN is in no range.
    if value.number().is_some_and(|number| !(lower, upper).contains(&number)) {
        broken(found, at, message, &NumberBounds { lower, upper });
    }
}

/// A field that is a number.
#[diagnostic::on_unimplemented(
    message = "a `{Self}` is not a number",
    label = "is not a number",
    note = "`range` is for integers and floats, also in an `Option`, `Box`, `Rc` or `Arc`; for a string's or a list's length write `length(min = …, max = …)`, for other types `custom(function = …)`"
)]
pub trait InRange {
    /// The type of the bounds.
    type Number: PartialOrd + Copy + Debug;

    /// The number, if there is a value.
    fn number(&self) -> Option<Self::Number>;
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl InRange for $number {
            type Number = $number;

            #[inline]
            fn number(&self) -> Option<$number> {
                Some(*self)
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64);

impl<T: InRange> InRange for Option<T> {
    type Number = T::Number;

    #[inline]
    fn number(&self) -> Option<T::Number> {
        self.as_ref().and_then(T::number)
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<T: InRange + ?Sized> InRange for $pointer {
            type Number = T::Number;

            #[inline]
            fn number(&self) -> Option<T::Number> {
                (**self).number()
            }
        }
    )*};
}
pointers!(&T, Box<T>, Rc<T>, Arc<T>);

impl<T: InRange + ToOwned + ?Sized> InRange for Cow<'_, T> {
    type Number = T::Number;

    #[inline]
    fn number(&self) -> Option<T::Number> {
        (**self).number()
    }
}

struct NumberBounds<N> {
    lower: Bound<N>,
    upper: Bound<N>,
}

impl<N: Debug> fmt::Display for NumberBounds<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Bound::{Excluded, Included, Unbounded};
        // `Debug` shows the point of a float that is whole.
        match (&self.lower, &self.upper) {
            (Included(min), Included(max)) => return write!(f, "must be between {min:?} and {max:?}"),
            (Included(min), _) => write!(f, "must be at least {min:?}")?,
            (Excluded(min), _) => write!(f, "must be more than {min:?}")?,
            (Unbounded, Unbounded) => return f.write_str("must be a number"),
            (Unbounded, _) => {}
        }
        f.write_str(match (&self.lower, &self.upper) {
            (_, Unbounded) => return Ok(()),
            (Unbounded, _) => "must be ",
            _ => " and ",
        })?;
        match &self.upper {
            Included(max) => write!(f, "at most {max:?}"),
            Excluded(max) => write!(f, "less than {max:?}"),
            Unbounded => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Bound::{Excluded, Included, Unbounded},
        *,
    };

    fn message<T: InRange>(value: &T, lower: Bound<T::Number>, upper: Bound<T::Number>) -> Option<String> {
        let mut found = Violations::default();
        range(&mut found, "", None, value, lower, upper);
        Some(found.into_result().err()?.remove(0).message)
    }

    #[test]
    fn bounds_are_inclusive_unless_said() {
        assert_eq!(message(&1, Included(1), Included(3)), None);
        assert_eq!(message(&3_u8, Included(1), Included(3)), None);
        assert_eq!(message(&-4_i64, Included(-3), Unbounded).unwrap(), "must be at least -3");
        assert_eq!(message(&101_u32, Unbounded, Included(100)).unwrap(), "must be at most 100");
        assert_eq!(message(&4, Included(1), Included(3)).unwrap(), "must be between 1 and 3");
        assert_eq!(message(&0.0, Excluded(0.0), Unbounded).unwrap(), "must be more than 0.0");
        assert_eq!(
            message(&1.0, Included(0.0), Excluded(1.0)).unwrap(),
            "must be at least 0.0 and less than 1.0"
        );
        assert_eq!(message(&9, Excluded(0), Included(5)).unwrap(), "must be more than 0 and at most 5");
        assert_eq!(message(&5, Unbounded, Excluded(5)).unwrap(), "must be less than 5");
    }

    #[test]
    fn nothing_is_in_every_range_and_nan_in_none() {
        assert_eq!(message(&None::<u8>, Included(1), Included(3)), None);
        assert_eq!(message(&Some(Box::new(2_u8)), Included(1), Included(3)), None);
        assert!(message(&Some(Box::new(4_u8)), Included(1), Included(3)).is_some());
        assert!(message(&f64::NAN, Included(0.0), Unbounded).is_some());
        assert!(message(&f64::INFINITY, Included(0.0), Unbounded).is_none());
    }
}
