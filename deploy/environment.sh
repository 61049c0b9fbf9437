# Finds Python and installs the project into a virtual environment; sourced by run-local and test.

# What the tests need, and the cluster that is made of their parts.
TEST_EXTRAS=test,lint,keystone,embedded,profiler,cinder,gridfs,mysql,s3,swift,vmware

# Bash goes on after Ctrl-C when the command of that moment answers it with an exit code of its own.
trap 'exit 130' INT

# Prints the first Python that is new enough and can make virtual environments; says what to install when there is none.
find_python() {
    local candidate old="" bare=""
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        command -v "$candidate" >/dev/null || continue
        if ! "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            old+=" $candidate"
        elif ! "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            bare+=" $candidate"
        else
            echo "$candidate"
            return
        fi
    done
    if [ -n "$bare" ]; then
        echo "Python's venv module is missing for$bare: apt-get install python3-venv" >&2
    else
        echo "Python 3.11 or newer is needed${old:+ (too old:$old)}: apt-get install python3 python3-venv" >&2
    fi
    return 2
}

# make_environment ROOT VENV EXTRAS: installs the project in place, again only when something about that has changed.
# Ctrl-C, TERM and HUP end the installation with all its processes, and this shell.
make_environment() {
    local root=$1 venv=$2 extras=$3 python wanted lock log began=$SECONDS
    python=$(find_python) || return
    wanted=$({ cat "$root/setup.cfg" "$root/pyproject.toml"; "$python" -VV; echo "$root $venv $extras"; } | sha256sum)
    if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$wanted" ]; then
        return
    fi
    # Only what was made here is replaced: the marker comes first, the text in it last.
    if [ -n "$(ls -A "$venv" 2>/dev/null)" ] && ! [ -e "$venv/.installed" ]; then
        echo "$venv holds other files; a virtual environment needs a folder of its own" >&2
        return 2
    fi
    mkdir -p "$venv"
    # The marker is the lock as well, so it stays the same file.
    exec {lock}<>"$venv/.installed"
    if ! flock --nonblock "$lock"; then
        echo "another start is installing into $venv; waiting for it"
        flock "$lock"
    fi
    if [ "$(cat "$venv/.installed")" != "$wanted" ]; then
        echo "installing into $venv; this takes a minute"
        : >"$venv/.installed"
        find "$venv" -mindepth 1 -maxdepth 1 ! -name .installed -exec rm -rf {} +
        mkdir "$venv/tmp"
        log=$(mktemp)
        # pip, when it is ended, leaves its temporary files where they are: here they go with the next installation.
        if ! run_as_group "$log" env TMPDIR="$venv/tmp" bash -c \
            '"$1" -m venv "$2" && "$2/bin/python" -m pip install --disable-pip-version-check --editable "$3"' \
            bash "$python" "$venv" "$root[$extras]"; then
            tail -n 20 "$log" >&2
            echo "installation failed; everything pip said is in $log" >&2
            return 1
        fi
        rm -rf "$log" "$venv/tmp"
        echo "$wanted" >"$venv/.installed"
        echo "installed in $((SECONDS - began)) s"
    fi
    exec {lock}<&-
}

# run_as_group LOG COMMAND …: runs a command with its output in LOG, returns its exit code. A signal that ends this
# shell ends the command and everything it started first.
run_as_group() {
    local log=$1 group code=0
    shift
    setsid "$@" >"$log" 2>&1 </dev/null &
    group=$!
    trap 'end_group "$group" "$log" 130' INT
    trap 'end_group "$group" "$log" 143' TERM
    trap 'end_group "$group" "$log" 129' HUP
    wait "$group" || code=$?
    trap 'exit 130' INT
    trap - TERM HUP
    return "$code"
}

# end_group GROUP LOG CODE: ends a process group, at the latest with KILL after 5 s, and then this shell.
end_group() {
    local group=$1 log=$2 code=$3 tries
    trap '' INT TERM HUP
    echo "interrupted; the next start begins the installation again" >&2
    # Before setsid has run there is no group yet.
    kill -TERM -- "-$group" 2>/dev/null || kill -TERM "$group" 2>/dev/null || true
    for ((tries = 0; tries < 50; tries++)); do
        kill -0 -- "-$group" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$group" 2>/dev/null || true
    rm -f "$log"
    exit "$code"
}
