//! Each fault's message stands in the file beside it; `TRYBUILD=overwrite` writes them anew.
//!
//! Nothing that passes is here: with only failures trybuild checks and never builds, in a fraction of the time.

#[test]
fn ui() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}
