use std::{env, fs, path::Path};

// Writes a table that the crate includes.
fn main() {
    let out = env::var("OUT_DIR").unwrap();
    let table: String = (0..10).map(|n: u32| format!("{},", n * n)).collect();
    fs::write(
        Path::new(&out).join("squares.rs"),
        format!("pub const SQUARES: [u32; 10] = [{table}];"),
    )
    .unwrap();
    println!("cargo:rerun-if-changed=build.rs");
}
