//! Compiles proto/ without protoc.

use std::path::Path;

const FILES: [&str; 5] = [
    "herd/v1/cache.proto",
    "herd/v1/lock.proto",
    "herd/v1/origin.proto",
    "herd/v1/control.proto",
    "herd/v1/bench.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../proto");
    for file in FILES {
        println!("cargo::rerun-if-changed={}", root.join(file).display());
    }
    let mut compiler = protox::Compiler::new([root])?;
    compiler.include_source_info(true).include_imports(true).open_files(FILES)?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("herd.fds"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".herd.v1.GetResponse.value")
        .bytes(".herd.v1.FetchResponse.value")
        .bytes(".herd.v1.EchoResponse.value")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
