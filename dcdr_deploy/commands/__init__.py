"""One module a command; each is imported when its command is called (cli.py holds the list)."""
