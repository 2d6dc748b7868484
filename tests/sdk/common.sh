# Sourced by every `run`: the cache folder, locking, and the exit code for a
# language that is not on this machine.
here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/dapr-rust/sdk

# need PROGRAM...: ends the script with 77 unless all of them are there
need() {
  local program
  for program; do
    command -v "$program" >/dev/null || { echo "$program is not installed"; exit 77; }
  done
}

# again COMMAND...: three attempts, for what comes over a network
again() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return
    echo "attempt $attempt failed: $*" >&2
    sleep $((attempt * 5))
  done
  return 1
}

# fingerprint FILE...: names one state of these files
fingerprint() {
  cat "$@" | sha256sum | cut -c1-16
}

# locked NAME: until this shell ends, no other run sets up NAME
locked() {
  mkdir -p "$cache"
  exec 9>"$cache/$1.lock"
  flock 9
}

unlocked() {
  exec 9>&-
}
