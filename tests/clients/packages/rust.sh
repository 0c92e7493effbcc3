# The crate as it would be published, unpacked: what is not in it is not there. CARGO_TARGET_DIR is where others have
# compiled what it stands on.
(cd "$CLIENT" && cargo package --quiet --no-verify --allow-dirty)
tar -xf "$CARGO_TARGET_DIR"/package/factstr-client-0.1.0.crate

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
(cd desk && cargo build --quiet)
cp "$CARGO_TARGET_DIR/debug/tool-desk" .
