"""Private interfaces of the libraries below, each behind a function or a typed value.

Nothing else in the package uses a private interface. Each one has a contract test in `tests/compat`, which a new
version of the library has to pass before its pin is raised. These modules import nothing of the package but
`longspan.errors`.
"""
