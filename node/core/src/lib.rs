//! The pure queue and catalog state machines of Roadstead
