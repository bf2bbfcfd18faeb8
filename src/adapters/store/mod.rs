//! Stores, and decorators around them.
