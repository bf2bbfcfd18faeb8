//! Generates the gRPC code and the descriptor set, without protoc.

fn main() {}
