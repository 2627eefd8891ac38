#!/usr/bin/env bash
# check.sh lint|format|test|test-all|test-chaos|test-cluster|test-deep|test-unit. ARGS goes to pytest.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# The tests start what they need themselves: never on the head of the person who runs them.
unset RAY_ADDRESS RAY_API_SERVER_ADDRESS

# Two processes, see tests/distribution.py. ARGS="-n 0" makes it one, as --pdb needs.
TWO="-n 2 --dist loadgroup --no-loadscope-reorder"

# tests MARKERS OPTION...: pytest.
tests() {
    local markers=$1
    shift
    eval "exec python -m pytest -m '$markers' --durations=30 $* ${ARGS:-}"
}

case "${1:-}" in
    lint)
        ruff check
        ruff format --check
        pyrefly check
        for script in tools/*.sh env.sh .ci/run; do bash -n "$script"; done
        ;;
    format)
        ruff check --fix --exit-zero --quiet
        ruff format
        ;;
    test) tests 'not deep and not hosts and not long' $TWO --service-budget ;;
    test-all) tests 'not hosts and not long' $TWO ;;
    # With `test` before it, as CI has it, all of test-all.
    test-deep) tests 'deep and not hosts and not long' $TWO ;;
    test-chaos) tests '' tests/chaos ;;
    test-cluster) tests 'hosts or long' ;;
    test-unit) tests 'not real and not deep' ;;
    *)
        say "check.sh lint|format|test|test-all|test-chaos|test-cluster|test-deep|test-unit" >&2
        exit 2
        ;;
esac
