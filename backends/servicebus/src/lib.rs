#![doc = include_str!("../README.md")]
// Until the transports are there.
#![expect(dead_code)]

mod transport;
