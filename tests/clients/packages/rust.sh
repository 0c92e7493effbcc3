# The crate as it would be published, unpacked: what is not in it is not there. Built where the next run finds it again,
# because all that it stands on takes minutes.
(cd "$CLIENT" && cargo package --quiet --no-verify --allow-dirty)
tar -xf "$CLIENT"/target/package/factstr-client-0.1.0.crate

mkdir -p desk/src
cp "$CLIENT/examples/tool-desk.rs" desk/src/main.rs
cat > desk/Cargo.toml <<TOML
[package]
name = "tool-desk"
version = "1.0.0"
edition = "2021"

[dependencies]
factstr-client = { path = "../factstr-client-0.1.0" }
serde_json = "1"
tokio = { version = "1", features = ["full"] }
TOML
(cd desk && CARGO_TARGET_DIR="$CLIENT/target/installed" cargo build --quiet)
cp "$CLIENT/target/installed/debug/tool-desk" .
