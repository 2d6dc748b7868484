//! Compiles every file below `proto/` to Rust, and to the descriptor set that gRPC reflection serves.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use prost_types::{DescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());

    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(false).open_files(&files)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    let mut set = compiler.file_descriptor_set();
    forget_deprecation(&mut set);
    let generator = tonic_prost_build::configure().build_transport(false).bytes(".");
    generator.codec_path("crate::codec::Codec").compile_fds(set)?;
    Ok(())
}

/// Adds every `.proto` file below `dir`.
fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    Ok(())
}

/// Deprecation tells applications to move on, and stays in the descriptor set. A server has to serve what is
/// deprecated like everything else, so the Rust code does not carry the attribute: it would only warn there.
fn forget_deprecation(set: &mut FileDescriptorSet) {
    for file in &mut set.file {
        file.message_type.iter_mut().for_each(forget_in_message);
        let methods = file.service.iter_mut().flat_map(|service| &mut service.method);
        methods.filter_map(|method| method.options.as_mut()).for_each(|options| options.deprecated = None);
    }
}

fn forget_in_message(message: &mut DescriptorProto) {
    if let Some(options) = &mut message.options {
        options.deprecated = None;
    }
    let fields = message.field.iter_mut().filter_map(|field| field.options.as_mut());
    fields.for_each(|options| options.deprecated = None);
    message.nested_type.iter_mut().for_each(forget_in_message);
}
