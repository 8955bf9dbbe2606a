"""From the bytes of one file to its stored samples; one module a family of formats."""
