#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scaleout::hub::fuzzing::web_socket(data));
