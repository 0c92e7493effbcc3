//! Generates the messages and stubs of `factstr.v1` from `proto`, without protoc.

use std::error::Error;

const FILES: [&str; 3] = [
    "factstr/v1/durable_stream_service.proto",
    "factstr/v1/event_store_service.proto",
    "factstr/v1/server_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    tonic_prost_build::configure()
        .build_server(false)
        .build_transport(false)
        // Sorted, so that a repeated request is the same to the last byte.
        .btree_map(".")
        .compile_fds(protox::compile(FILES, ["proto"])?)?;
    Ok(())
}
