//! Generates the Rust types and services of `roadstead.v1`; needs no protoc.

#[path = "build/shapes.rs"]
mod shapes;

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 6] = ["queue", "message", "cluster", "quota", "peer", "error"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = FILES.map(|name| format!("roadstead/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    std::fs::write(out.join("shapes.rs"), shapes::of(&descriptors)?)?;
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .codec_path("crate::codec::Codec")
        .compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    Ok(())
}
