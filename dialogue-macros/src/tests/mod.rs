//! Tests of the whole way, from tokens to tokens.
