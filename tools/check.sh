#!/usr/bin/env bash
# check.sh lint|format|test|test-all|test-chaos|test-cluster|test-deep|test-unit. ARGS goes to pytest.
. "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"
# The tests start what they need themselves: never on the head of the person who runs them.
unset RAY_ADDRESS RAY_API_SERVER_ADDRESS

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
    test)
        # Two processes, see tests/distribution.py. ARGS="-n 0" for one, as --pdb needs.
        eval "exec python -m pytest -m 'not deep and not hosts and not long' -n 2 --dist loadgroup --no-loadscope-reorder \
            --service-budget --durations=30 ${ARGS:-}"
        ;;
    test-all) eval "exec python -m pytest -m 'not hosts and not long' --durations=30 ${ARGS:-}" ;;
    # With `test` before it, as CI has it, all of test-all.
    test-deep) eval "exec python -m pytest -m 'deep and not hosts and not long' --durations=30 ${ARGS:-}" ;;
    test-chaos) eval "exec python -m pytest tests/chaos ${ARGS:-}" ;;
    test-cluster) eval "exec python -m pytest -m 'hosts or long' ${ARGS:-}" ;;
    test-unit) eval "exec python -m pytest -m 'not real and not deep' ${ARGS:-}" ;;
    *)
        say "check.sh lint|format|test|test-all|test-chaos|test-cluster|test-deep|test-unit" >&2
        exit 2
        ;;
esac
