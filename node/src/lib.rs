//! A Roadstead node: Raft-replicated queues over a journal and LMDB
