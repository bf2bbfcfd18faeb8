//! A bounded YAML document whose every fault has a place: file, line and field.
