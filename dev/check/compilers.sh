#!/usr/bin/env bash
# bert.h under other compilers and on other machines (under qemu and wine): one table, then
# "N passed, N failed". What is not installed is skipped and says so.
#
#     dev/check/compilers.sh           the quick half: the header and its example
#     dev/check/compilers.sh --all     every program in dev/test, and the driver without a warning
#     dev/check/compilers.sh --install first what Debian has (apt-get)
set -u
cd "$(dirname "$0")/../.."
all='' install=''
for argument in "$@"; do
    case $argument in
        --all) all=1 ;;
        --install) install=1 ;;
        *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
done
[ -z "$install" ] || { apt-get -qq update; for p in gcc-11 clang-14 clang-16 clang-19 tcc musl-tools \
    gcc-{aarch64,s390x,powerpc64,powerpc64le,riscv64,i686}-linux-gnu gcc-arm-linux-gnueabihf \
    qemu-user gcc-mingw-w64-x86-64 wine wine64 wasi-libc libclang-rt-14-dev-wasm32 lld-14 nodejs; do
    apt-get -qq install -y "$p"; done; } > /dev/null 2>&1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export WINEDEBUG=-all WINEPREFIX=${WINEPREFIX:-$work/wine} OMP_NUM_THREADS=1
passed=0 failed=0
math="-ffp-contract=fast -fno-math-errno -fno-trapping-math"
strict="-Wall -Wextra -Wpedantic -Werror"
sed -n '/^```c$/,/^```$/{/^```/d;p;}' README.md > "$work/example.c"
printf '#define BERT_IMPLEMENTATION\n#include "bert.h"\nint main() { Bert *m = 0; return m != 0; }\n' > "$work/one.cpp"

# row NAME COMMAND...: one line of the table. skip NAME WHY.
row() {
    local name=$1
    shift
    if "$@" > "$work/log" 2>&1; then
        passed=$((passed + 1)); printf '%-34s ok\n' "$name"
    else
        failed=$((failed + 1)); printf '%-34s FAIL\n' "$name"; tail -n 12 "$work/log" | sed 's/^/    /'
    fi
}
skip() { printf '%-34s skipped: %s\n' "$1" "$2"; }
has() { command -v "$1" > /dev/null; }

# The example: Python's file, this compiler's numbers. tests RUNNER COMPILER...: some of dev/test.
example() {
    local run=$1
    shift
    "$@" -I. "$work/example.c" -o "$work/example.exe" -lm &&
        $run "$work/example.exe" dev/fixtures/text.model.bin "A good film is not dully DULL." |
        tr -d '\r' | diff - dev/fixtures/text.txt
}
tests() {
    local run=$1 names=$2 t
    shift 2
    for t in $names; do
        "$@" -I. "dev/test/$t.c" -o "$work/t.exe" -lm || return 1
        $run "$work/t.exe" > "$work/out" || { grep -v '^ok' "$work/out"; return 1; }
    done
}
# full NAME RUNNER TESTS COMPILER...: the example; with --all TESTS, and where there is a driver it.
full() {
    local name=$1 run=$2 names=$3
    shift 3
    has "$1" || { skip "$name" "no $1"; return; }
    [ -z "$run" ] || has "${run%% *}" || { skip "$name" "no $run"; return; }
    row "$name" example "$run" "$@"
    [ -n "$all" ] && [ -n "$names" ] && row "$name: $names" tests "$run" "$names" "$@"
}
driver() { # NAME COMPILER...: compiles without a warning
    local name=$1
    shift
    [ -z "$all" ] || ! has "$1" || row "$name: the driver, no warning" "$@" -c train_bert.c -o "$work/driver.o"
}

programs="library limits share"
for cc in gcc gcc-11 clang clang-16 clang-19; do
    full "$cc, C99" "" "$programs" $cc -std=c99 -O1 $strict $math -pthread
    driver "$cc" $cc -std=c99 -O2 $strict $math
done
full "gcc, C2x" "" "" gcc -std=c2x -O2 $strict $math
full "gcc, -Os -flto" "" "$programs" gcc -std=c99 -Os -flto $math -pthread -w
full "gcc, no contraction" "" "" gcc -std=c99 -O2 $strict -ffp-contract=off
full "tcc" "" "$programs" tcc -std=c99 -w -lpthread
full "musl" "" "$programs" musl-gcc -std=c99 -O1 -Wall -Wextra -Werror $math -static
driver "musl" musl-gcc -std=c99 -O2 $strict $math
for s in 11 14 17 20 23 26; do
    for cc in g++ clang++ clang++-19; do
        has $cc || { [ $s != 11 ] || skip "$cc" "not installed"; continue; }
        echo 'int main() { return 0; }' > "$work/nothing.cpp"
        $cc -std=c++$s "$work/nothing.cpp" -o "$work/nothing" 2> /dev/null || { skip "$cc, C++$s" "too old for it"; continue; }
        row "$cc, C++$s, the implementation" $cc -std=c++$s -O0 $strict -Wno-missing-field-initializers -I. "$work/one.cpp" -o "$work/one" -lm
    done
done
cross() { # NAME TRIPLET QEMU TESTS FLAGS...
    local name=$1 cc=$2-gcc run=$3 names=$4
    shift 4
    full "$name" "$run" "$names" "$cc" -std=c99 -O1 $strict $math -static "$@"
    driver "$name" "$cc" -std=c99 -O2 $strict $math "$@"
}
cross "arm64" aarch64-linux-gnu qemu-aarch64 "$programs"
cross "ppc64le" powerpc64le-linux-gnu qemu-ppc64le "$programs"
cross "ppc64, big endian" powerpc64-linux-gnu qemu-ppc64 "library share"
cross "riscv64" riscv64-linux-gnu qemu-riscv64 "$programs"
cross "armhf, 32 bits" arm-linux-gnueabihf qemu-arm "$programs"
cross "x86, 32 bits, SSE2" i686-linux-gnu qemu-i386 "$programs" -msse2 -mfpmath=sse
# Where floats are computed in more bits, the header says so and stops.
refuses() { ! "$@" -I. "$work/example.c" -o "$work/no" -lm 2> "$work/why" && grep -q 'bert.h.*error' "$work/why"; }
for x in "x86, 32 bits, x87:i686-linux-gnu-gcc -mno-sse -mfpmath=387" "-ffast-math:gcc -ffast-math"; do
    cc=${x#*:}
    if has ${cc%% *}; then row "${x%%:*}: refused" refuses $cc -std=c99 -O1; else skip "${x%%:*}" "no ${cc%% *}"; fi
done
if has x86_64-w64-mingw32-gcc && has wine; then
    wine cmd /c exit > /dev/null 2>&1
    full "Windows (mingw-w64, wine)" wine "library limits" x86_64-w64-mingw32-gcc -std=c99 -O1 $strict -Wno-format $math -static
    full "Windows, AVX2" wine "library" x86_64-w64-mingw32-gcc -std=c99 -O3 $strict -Wno-format $math -static -mavx2 -mfma
else
    skip "Windows" "no mingw-w64 or wine"
fi
if [ -e /usr/include/wasm32-wasi/stdio.h ] && has clang && has node && has wasm-ld-14; then
    wasm() {
        clang --target=wasm32-wasi --sysroot=/ -isystem /usr/include/wasm32-wasi -L/usr/lib/wasm32-wasi -O2 -msimd128 -std=c99 $strict \
            -Wl,-z,stack-size=4194304 -I. "$work/example.c" -o "$work/example.wasm" -lm &&
            node --no-warnings -e 'const { WASI } = require("wasi"), fs = require("fs");
                const wasi = new WASI({ version: "preview1", args: process.argv.slice(1), preopens: { ".": "." } });
                WebAssembly.instantiate(fs.readFileSync(process.argv[1]), { wasi_snapshot_preview1: wasi.wasiImport })
                    .then((m) => process.exit(wasi.start(m.instance)));' \
                "$work/example.wasm" dev/fixtures/text.model.bin "A good film is not dully DULL." | diff - dev/fixtures/text.txt
    }
    row "WebAssembly, SIMD (node)" wasm
else
    skip "WebAssembly" "no wasi-libc, wasm-ld or node"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
