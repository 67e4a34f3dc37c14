//! The `scaleout` command.

fn main() {}
