//! What is held against several rooms at once.

pub(crate) mod fuzz;
