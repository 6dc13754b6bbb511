# Shared by the scripts of this folder: sourced, never run.
# Says what is done on standard error, so that standard output stays for results.

repo_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
guest_dir=$repo_root/out/guest

say() { printf '==> %s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$1" >&2; shift; for line in "$@"; do printf '       %s\n' "$line" >&2; done; exit 1; }

need_root() {
  [ "$(id -u)" = 0 ] || fail "$1 needs root: it makes network namespaces, mounts and loop devices." \
    "Run it again as: sudo $1"
}

need_sdk() {
  if command -v dotnet >/dev/null && dotnet --list-sdks 2>/dev/null | grep -q '^10\.'; then return; fi
  fail ".NET SDK 10 was not found." \
    "Install it (https://dotnet.microsoft.com/download/dotnet/10.0; on Debian: package dotnet-sdk-10.0 of Microsoft's" \
    "repository, or the dotnet-install script with --channel 10.0), put 'dotnet' on the PATH, and run this again."
}

# Everything is built once, in Release; the later steps use the result with --no-build.
build_all() {
  say "Building Orleans.sln (Release)"
  dotnet build "$repo_root/Orleans.sln" -c Release --nologo -v q >&2 || fail "The build failed; the messages above say where."
}

pollux_lab() { dotnet "$repo_root/tests/Lab/bin/Release/net10.0/pollux-lab.dll" "$@"; }
