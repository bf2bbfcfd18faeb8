//! How things are sealed.
