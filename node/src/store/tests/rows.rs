//! Rows, payloads and the turnover of segments.
