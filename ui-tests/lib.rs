//! Compile errors worth showing off: one case a fault.
