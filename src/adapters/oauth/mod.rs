//! Token endpoints of platforms.
