# Runs one command of the cluster; sourced by up, down and drill. The cluster is made of the parts of the tests (the
# starters of its servers, the checker of promises), so it uses their virtual environment and their Debian packages.

run_cluster() {
    local root=$1 command=$2
    shift 2
    . "$root/deploy/environment.sh"
    local venv=${GLANCE_TEST_VENV:-$root/.venv-test}
    make_environment "$root" "$venv" "$TEST_EXTRAS"
    # What is left of a server when its starter dies is ended as well.
    exec env PYTHONPATH="$root" "$venv/bin/python" "$root/deploy/leftovers.py" \
        "$venv/bin/python" -m tests.cluster.main "$command" "$@"
}
