"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A mistake the user can mend: a wrong key, a missing object, an impossible combination.

    The message names the key, the value found and what would be right. Drivers print it without a
    traceback and exit with status 2.
    """
