#!/bin/sh
# Make `cargo build --target wasm32-unknown-unknown` work.
#   eval "$(tests/wasm-toolchain.sh)"    prints the environment to export (nothing with plain rustup)
# 1. the active toolchain already has the target -> nothing to do
# 2. rustup can add it                           -> rustup target add
# 3. Debian without rustup downloads             -> unpack Debian's rustc-web + rust-web-src (same version) under
#    $DIR, no root, and build std once from that source
set -eu
T=wasm32-unknown-unknown
DIR=${WASM_TOOLCHAIN_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/wasm-rust}
say() { printf '%s\n' "$*" >&2; }
has_std() { ls "$("$1" --print sysroot)/lib/rustlib/$T/lib/"libcore-*.rlib >/dev/null 2>&1; }
if has_std "${RUSTC:-rustc}"; then exit 0; fi
if [ "${WASM_TOOLCHAIN_OFFLINE:-0}" = 0 ] && command -v rustup >/dev/null && timeout 90 rustup target add $T >&2 && has_std rustc; then exit 0; fi
emit() {
  echo "export RUSTC='$DIR/rustc'"
  echo "export CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER='$LLD'"
}
lld() { # rustup ships rust-lld; gcc-ld/wasm-ld is the same program under the name wasm-ld
  for l in "$(rustc --print sysroot 2>/dev/null)"/lib/rustlib/*/bin/rust-lld "$DIR"/root/usr/lib/llvm-*/bin/wasm-ld; do
    [ -x "$l" ] && { echo "$l"; return; }
  done; return 1; }
if [ -x "$DIR/rustc" ] && has_std "$DIR/rustc"; then LLD=$(lld); emit; exit 0; fi
command -v apt-get >/dev/null || { say "no wasm32 std: install rustup, then: rustup target add $T"; exit 1; }
say "building a $T standard library under $DIR (about two minutes, once)"
rm -rf "$DIR"; mkdir -p "$DIR/debs" "$DIR/root"; cd "$DIR/debs"
# A fresh machine has no lists yet.
[ -n "$(apt-cache madison rust-web-src 2>/dev/null)" ] || { if [ "$(id -u)" = 0 ]; then apt-get update; else sudo apt-get update; fi; } >&2
V=$(apt-cache madison rust-web-src | awk '{print $3}' | sort -V | tail -1)
U=${V%%+*}; S=${U%.*}                                  # 1.96.0, 1.96
apt-get download "rustc-web=$V" "libstd-rust-web-$S=$V" "libstd-rust-web-dev=$V" "rust-web-src=$V" >&2
L=$(dpkg-deb -f libstd-rust-web-"$S"_*.deb Depends | grep -o 'libllvm[0-9]*')
apt-get download "$L" >&2; lld >/dev/null || apt-get download "lld-${L#libllvm}" >&2
for d in *.deb; do dpkg -x "$d" "$DIR/root"; done; cd "$DIR"; rm -rf debs
R=$DIR/root/usr
cat > "$DIR/rustc" <<X
#!/bin/sh
LD_LIBRARY_PATH="$R/lib/x86_64-linux-gnu:$R/lib/llvm-${L#libllvm}/lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "$R/bin/rustc" "\$@"
X
chmod +x "$DIR/rustc"; LLD=$(lld)
mkdir -p "$DIR/seed/src"; cd "$DIR/seed"
printf '[package]\nname="seed"\nversion="0.0.0"\nedition="2021"\n[lib]\n[profile.release]\nopt-level=3\ncodegen-units=1\ndebug=false\n[workspace]\n' > Cargo.toml
echo '' > src/lib.rs
env -u RUSTC_WRAPPER RUSTC="$DIR/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$DIR/seed/target" \
  RUSTFLAGS="-Cembed-bitcode=yes -Zforce-unstable-if-unmarked --remap-path-prefix=$R/src/rustc-$U=/rustc/src --remap-path-prefix=$R/lib/rustlib/src/rust=/rustc/src --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src=/rustc/crates" \
  cargo build -q --release --target $T -Zbuild-std=std,panic_abort >&2
mkdir -p "$R/lib/rustlib/$T/lib"; cp target/$T/release/deps/*.rlib "$R/lib/rustlib/$T/lib/"; rm -f "$R/lib/rustlib/$T/lib/"libseed-*
cd /; rm -rf "$DIR/seed" "$R/src"; emit
