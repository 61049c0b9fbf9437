# Finds Python and installs the project into a virtual environment; sourced by run-local and test.

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
make_environment() {
    local root=$1 venv=$2 extras=$3 python wanted log
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
    echo "installing into $venv; this takes a minute"
    rm -rf "$venv"
    mkdir -p "$venv"
    : >"$venv/.installed"
    log=$(mktemp)
    if ! { "$python" -m venv "$venv" && "$venv/bin/python" -m pip install --disable-pip-version-check \
            --editable "$root[$extras]"; } >"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        echo "installation failed; everything pip said is in $log" >&2
        return 1
    fi
    rm -f "$log"
    echo "$wanted" >"$venv/.installed"
}
