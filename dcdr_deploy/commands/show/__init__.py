"""All that people see of a command: progress, summaries, tables."""
