//! Writes the table of the playground's files, whose names change with their contents, for `src/pages/playground.rs`.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other("not run by cargo"));
    let dist = variable("CARGO_MANIFEST_DIR")?.join("web/playground/dist");
    println!("cargo::rerun-if-changed={}", dist.display());

    let mut table = String::from("&[\n");
    for (prefix, folder) in [("", dist.clone()), ("assets/", dist.join("assets"))] {
        for name in names(&folder)? {
            // Debug is how Rust writes a string literal.
            let content = |form| format!("include_bytes!({:?})", folder.join(format!("{name}.{form}")));
            writeln!(table, "    ({:?}, {}, {}),", format!("{prefix}{name}"), content("br"), content("gz"))
                .map_err(io::Error::other)?;
        }
    }
    table.push(']');
    fs::write(variable("OUT_DIR")?.join("playground.rs"), table)
}

/// The files of a folder, each of which is there in two compressed forms, in the order of their names.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let file = entry?.file_name();
        names.extend(file.to_string_lossy().strip_suffix(".br").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}
