//! Storage: the journal, LMDB and the data directory.
