"""Options in groups: a module has ``options``, a decorator that adds them, and a function that makes their settings."""
