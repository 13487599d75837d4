//! What the macros take and refuse: the tests are this package's reason.
