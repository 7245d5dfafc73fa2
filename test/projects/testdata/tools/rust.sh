# needs: cargo gcc
export CARGO_HOME=$PWD/cargo CARGO_NET_OFFLINE=true
mkdir -p macros/src src
printf '%s\n' '[package]' 'name = "macros"' 'version = "0.1.0"' 'edition = "2021"' '[lib]' 'proc-macro = true' >macros/Cargo.toml
cat >macros/src/lib.rs <<'END'
use proc_macro::TokenStream;
#[proc_macro]
pub fn answer(_: TokenStream) -> TokenStream { "42".parse().unwrap() }
END
printf '%s\n' '[package]' 'name = "trial"' 'version = "0.1.0"' 'edition = "2021"' 'build = "build.rs"' '[dependencies]' 'macros = { path = "macros" }' >Cargo.toml
echo 'fn main() { println!("cargo:rustc-env=BUILT=yes"); }' >build.rs
cat >src/main.rs <<'END'
fn main() {
    let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let a = l.local_addr().unwrap();
    std::thread::spawn(move || std::net::TcpStream::connect(a).unwrap());
    l.accept().unwrap();
    println!("{} {}", macros::answer!(), env!("BUILT"));
}
END
cargo run -q | grep -x '42 yes'
