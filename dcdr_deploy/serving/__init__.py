"""More than one process or machine: HTTP service, Triton model repositories, folders and videos over a Ray cluster."""
