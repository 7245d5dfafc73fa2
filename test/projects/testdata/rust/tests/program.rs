use std::process::Command;

#[test]
fn runs() {
    let out = Command::new(env!("CARGO_BIN_EXE_planner")).output().unwrap();
    assert_eq!(out.stdout, b"120\n");
}
