//! Platform profiles, read from YAML.
