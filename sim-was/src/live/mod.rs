//! Plumbing, to come.
