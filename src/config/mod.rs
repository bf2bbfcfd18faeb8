//! The configuration of an installation, read from YAML and the environment.
