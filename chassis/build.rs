//! What the metrics say of the build: the compiler. The commit comes from `GIT_SHA`, where whoever builds sets it: to ask
//! git here would have every commit build everything again.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    // rustc 1.94.0 (4a4ef493e 2026-03-02)
    let version = version.as_deref().and_then(|text| text.split_whitespace().nth(1)).unwrap_or("unknown");
    println!("cargo::rustc-env=RUSTC_VERSION={version}");
}
