//! What a simulated application costs and does.
//!
//! An application's "code" is the file `simulation.toml` in its root folder: it names the pages
//! that have a managed handler and what each of them takes. Static files need no entry. An
//! application without such a file has the built-in pages of [`Behaviour::built_in`].
//!
//! Costs are distributions. Nothing here draws: a request's draw is derived from its activity id, so
//! that the same attempt costs the same in every arm of a comparison.
