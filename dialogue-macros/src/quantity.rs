//! Numbers with and without a unit: `1_000`, `64KiB`, `7d`.

use std::time::Duration;

use proc_macro2::{Literal, Span, TokenStream};
use quote::quote;
use syn::{LitFloat, LitInt, Result, parse::ParseStream};

use crate::diag;

/// A number, and its place in the source.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// Parses `1_000`, at least 1 and at most `most`.
pub(crate) fn count(input: ParseStream<'_>, what: &str, most: u64) -> Result<At<u64>> {
    let (number, literal) = number(input, what, "a number such as `1_000`")?;
    match literal.suffix() {
        "" => within(number, &literal, what, most),
        suffix => Err(syn::Error::new(
            literal.span(),
            format_args!("{what} is a plain number; drop `{suffix}`: `{number}`"),
        )),
    }
}

/// Parses `65_536`, `64KiB`, `1MiB`.
pub(crate) fn bytes(input: ParseStream<'_>, what: &str) -> Result<At<u64>> {
    const UNITS: &[&str] = &["KiB", "MiB", "GiB"];
    let (number, literal) = number(input, what, "a number of bytes such as `64KiB`")?;
    let shift = match literal.suffix() {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        suffix => return Err(syn::Error::new(literal.span(), diag::unknown("unit of size", suffix, UNITS))),
    };
    within(number.saturating_mul(1 << shift), &literal, what, 1 << 50)
}

/// Parses `500ms`, `10s`, `5m`, `1h`, `7d`.
pub(crate) fn duration(input: ParseStream<'_>, what: &str) -> Result<At<Duration>> {
    const UNITS: &[&str] = &["ms", "s", "m", "h", "d"];
    const DAY: u64 = 24 * 60 * 60 * 1_000;
    let (number, literal) = number(input, what, "a duration such as `10s` or `7d`")?;
    let unit = match literal.suffix() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY,
        "" => {
            return Err(syn::Error::new(
                literal.span(),
                format_args!(
                    "{what} needs a unit: `{number}ms`, `{number}s`, `{number}m`, `{number}h` or `{number}d`"
                ),
            ));
        }
        suffix => return Err(syn::Error::new(literal.span(), diag::unknown("unit of time", suffix, UNITS))),
    };
    let Some(millis) = number.checked_mul(unit).filter(|millis| *millis <= 36_500 * DAY) else {
        return Err(syn::Error::new(literal.span(), format_args!("{what} is at most 36_500d")));
    };
    let At { value, span } = within(millis, &literal, what, u64::MAX)?;
    Ok(At { value: Duration::from_millis(value), span })
}

/// Returns the code of a duration.
pub(crate) fn expand(duration: Duration) -> TokenStream {
    // A hundred years, the maximum, are far less milliseconds than a `u64` holds.
    let millis = Literal::u64_unsuffixed(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    quote!(::core::time::Duration::from_millis(#millis))
}

fn number(input: ParseStream<'_>, what: &str, such_as: &str) -> Result<(u64, LitInt)> {
    if input.peek(LitFloat) {
        return Err(input.error(format_args!("{what} is a whole number: {such_as}")));
    }
    let literal: LitInt =
        input.parse().map_err(|e| syn::Error::new(e.span(), format_args!("{what} is {such_as}")))?;
    let number = literal.base10_digits().parse().unwrap_or(u64::MAX);
    Ok((number, literal))
}

fn within(value: u64, literal: &LitInt, what: &str, most: u64) -> Result<At<u64>> {
    let span = literal.span();
    match value {
        0 => Err(syn::Error::new(span, format_args!("{what} is at least 1"))),
        value if value > most => Err(syn::Error::new(span, format_args!("{what} is at most {most}"))),
        value => Ok(At { value, span }),
    }
}

#[cfg(test)]
mod tests {
    use syn::parse::Parser;

    use super::*;

    fn read(text: &str) -> std::result::Result<u128, String> {
        let parser = |input: ParseStream<'_>| duration(input, "`age`");
        parser.parse_str(text).map(|at| at.value.as_millis()).map_err(|error| error.to_string())
    }

    #[test]
    fn durations_have_a_unit_and_a_bound() {
        assert_eq!(read("500ms"), Ok(500));
        assert_eq!(read("1_0s"), Ok(10_000));
        assert_eq!(read("7d"), Ok(7 * 24 * 3_600_000));
        assert_eq!(read("7").unwrap_err(), "`age` needs a unit: `7ms`, `7s`, `7m`, `7h` or `7d`");
        assert_eq!(
            read("7sec").unwrap_err(),
            "unknown unit of time `sec`; expected `ms`, `s`, `m`, `h` or `d`"
        );
        assert_eq!(read("1.5s").unwrap_err(), "`age` is a whole number: a duration such as `10s` or `7d`");
        assert_eq!(read("99999999999999999999d").unwrap_err(), "`age` is at most 36_500d");
        assert_eq!(read("0s").unwrap_err(), "`age` is at least 1");
    }

    #[test]
    fn sizes_are_powers_of_two() {
        let read = |text: &str| {
            (|input: ParseStream<'_>| bytes(input, "`bytes`")).parse_str(text).map(|at| at.value)
        };
        assert_eq!(read("64KiB").unwrap(), 65_536);
        assert_eq!(read("10").unwrap(), 10);
        let error = read("64KB").unwrap_err().to_string();
        assert_eq!(error, "unknown unit of size `KB`; did you mean `KiB`?");
    }
}
