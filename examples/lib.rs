//! Runnable programs a user would start from.
