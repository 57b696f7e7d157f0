//! Does what has fallen due.
