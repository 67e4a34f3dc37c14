#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| scaleout::hub::fuzzing::hub_json(data));
