#!/usr/bin/env bash
# Compiles and links the `cuda` feature on a machine that needs neither a GPU nor NVIDIA's toolkit: the CUDA compiler and
# libraries are put together from Python wheels. Nothing runs on a card here.
#
#   CUDA_COMPUTE_CAP    the cards to compile for: 80 (A100, the default), 86, 89, 90 (H100), 120, …
#   CUDAFORGE_THREADS   kernels compiled at once (default: half of the cores)
#   CARGO_TARGET_DIR    the build goes to its subfolder `cuda` (default: in the user's cache)
set -eEuo pipefail
cd "$(dirname "$0")/.."

# 13.0 suits the drivers of the 580 series and newer; a driver may refuse the PTX of a compiler that is newer than itself.
readonly CUDA=13.0.88
# What cargo and nvcc read, with the publisher's SHA-256: these are programs that run here.
readonly WHEELS="\
nvidia-cuda-nvcc==13.0.88 --hash=sha256:56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03
nvidia-nvvm==13.0.88 --hash=sha256:c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0
nvidia-cuda-crt==13.0.88 --hash=sha256:2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4
nvidia-cuda-runtime==13.0.96 --hash=sha256:7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548
nvidia-cuda-nvrtc==13.0.88 --hash=sha256:ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575
nvidia-cuda-cccl==13.0.85 --hash=sha256:e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649
nvidia-cublas==13.1.0.3 --hash=sha256:ee8722c1f0145ab246bccb9e452153b5e0515fd094c3678df50b2a0888b8b171
nvidia-curand==10.4.0.35 --hash=sha256:1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc"

readonly CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/zhujiao/cuda"
readonly TOOLKIT="$CACHE/toolkit-$CUDA"
# A folder of its own: the binary that is linked here does not start without NVIDIA's driver, and an ordinary build puts
# its own in the same place.
readonly TARGET="${CARGO_TARGET_DIR:-$CACHE/target}${CARGO_TARGET_DIR:+/cuda}"
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"

say() { printf 'check-cuda: %s\n' "$*"; }
die() {
  printf 'check-cuda: %s\n' "$*" >&2
  exit 1
}
trap 'die "FAILED in line $LINENO after $((SECONDS / 60)) min; nothing is shown by this run"' ERR

need_tools() {
  [[ "$(uname -s)/$(uname -m)" == Linux/x86_64 ]] || die "the wheels listed here are for Linux on x86-64"
  local tool
  for tool in cargo gcc g++ python3; do
    command -v "$tool" >/dev/null || die "$tool is missing"
  done
  python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip (Debian: apt-get install python3-pip)"
}

# Makes $TOOLKIT, or leaves it as it is when its stamp lists the same wheels. Downloads are kept until it is complete.
assemble_toolkit() {
  local stamp="$TOOLKIT/wheels.txt" downloads="$CACHE/wheels" staging="$CACHE/staging" library
  if [[ -f "$stamp" && "$(<"$stamp")" == "$WHEELS" ]]; then
    say "compiler: $TOOLKIT"
    return
  fi
  say "compiler: downloading 0.7 GB of wheels"
  rm -rf "$staging" "$TOOLKIT"
  mkdir -p "$downloads" "$staging/packages"
  printf '%s\n' "$WHEELS" >"$staging/wheels.txt"
  local pip=(env PIP_ROOT_USER_ACTION=ignore python3 -m pip --disable-pip-version-check --quiet)
  "${pip[@]}" download --no-deps --only-binary=:all: --require-hashes --requirement "$staging/wheels.txt" --dest "$downloads"
  # Unpacked by pip, because the files' execute bits are lost by plain unzipping.
  "${pip[@]}" install --no-deps --no-compile --no-index --find-links "$downloads" --require-hashes \
    --requirement "$staging/wheels.txt" --target "$staging/packages"
  mv "$staging/packages/nvidia/cu13" "$staging/root"
  # The places where build scripts look, and the names that linkers ask for: the wheels hold libNAME.so.VERSION only.
  ln -s lib "$staging/root/lib64"
  mkdir -p "$staging/root/lib/stubs"
  for library in "$staging"/root/lib/*.so.*; do
    ln -sf "${library##*/}" "${library%%.so.*}.so"
  done
  mv "$staging/wheels.txt" "$staging/root/wheels.txt"
  mv "$staging/root" "$TOOLKIT"
  rm -rf "$staging" "$downloads"
  say "compiler: $TOOLKIT, $(du -sh "$TOOLKIT" | cut -f1)"
}

# The driver's library comes with the driver only. The linker is content with one that has every function which cudarc
# declares; each answers CUDA_ERROR_STUB_LIBRARY, as NVIDIA's own stub does.
build_driver_stub() {
  local cudarc count stubs="$TOOLKIT/lib/stubs"
  cudarc="$(cargo metadata --locked --format-version 1 --features cuda --filter-platform x86_64-unknown-linux-gnu |
    python3 -c 'import json, os, sys
found = [p["manifest_path"] for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"]
print(os.path.dirname(found[0]) if len(found) == 1 else "")')"
  [[ -n "$cudarc" ]] || die "cargo does not list one cudarc for the feature cuda"
  { grep -oE '\bfn cu[A-Z][A-Za-z0-9_]*' "$cudarc/src/driver/sys/mod.rs" | sort -u |
    sed -E 's/^fn (.*)$/int \1(void) { return 34; }/'; } >"$stubs/libcuda.c"
  count="$(wc -l <"$stubs/libcuda.c")"
  ((count > 100)) || die "only $count driver functions found in $cudarc: its layout has changed"
  gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stubs/libcuda.so.1" "$stubs/libcuda.c"
  ln -sf libcuda.so.1 "$stubs/libcuda.so"
  say "driver: a stub of $count functions (${cudarc##*/})"
}

# The binary of an earlier run must not pass for this one's.
compile_and_link() {
  rm -f "$TARGET/release/zhujiao"
  say "building for compute capability $CUDA_COMPUTE_CAP into $TARGET; the first time takes half an hour and more"
  say "(the kernels are kept only when all are compiled: a run that is interrupted before begins them anew)"
  CUDA_HOME="$TOOLKIT" CUDA_PATH="$TOOLKIT" CUDA_ROOT="$TOOLKIT" CUDA_TOOLKIT_ROOT_DIR="$TOOLKIT" \
    NVCC="$TOOLKIT/bin/nvcc" PATH="$TOOLKIT/bin:$PATH" LIBRARY_PATH="$TOOLKIT/lib:$TOOLKIT/lib/stubs" \
    cargo build --release --locked --features cuda --target-dir "$TARGET"
}

# Every symbol resolved at once, against the stub and NVIDIA's libraries.
start_binary() {
  LD_BIND_NOW=1 LD_LIBRARY_PATH="$TOOLKIT/lib:$TOOLKIT/lib/stubs" "$TARGET/release/zhujiao" --version
}

report() {
  local kernels version needed
  kernels="$(find "$TARGET/release/build" -path '*/candle-kernels-*/out/libmoe.a' -printf '%T@ %h\n' | sort -n | tail -1 | cut -d' ' -f2-)"
  [[ -n "$kernels" ]] || die "no compiled kernels below $TARGET"
  needed="$(python3 - "$TARGET/release/zhujiao" <<'PYTHON'
import re, sys
names = re.findall(rb"\0(lib(?:cu|nv)[A-Za-z]+\.so\.[0-9]+)(?=\0)", open(sys.argv[1], "rb").read())
print(" ".join(sorted({name.decode() for name in names})))
PYTHON
)"
  [[ "$needed" == *libcuda.so.1* ]] || die "the binary is not linked with the driver's library"
  version="$(start_binary)"
  cat <<REPORT
check-cuda: passed in $((SECONDS / 60)) min
  compiled  candle's kernels by nvcc $CUDA for compute capability $CUDA_COMPUTE_CAP: $(find "$kernels" -name '*.ptx' | wc -l) PTX modules, $(find "$kernels" -name '*.o' | wc -l) objects
  linked    $TARGET/release/zhujiao with $needed
  started   \`--version\` with every symbol resolved, the driver being a stub: $version
  NOT run   not one kernel, and no model: that takes a card and its driver (580 or newer)
REPORT
}

need_tools
mkdir -p "$CACHE"
assemble_toolkit
build_driver_stub
compile_and_link
report
