//! Each form of the grammar, one a file.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "the files read as a user's program does")]

mod design;
