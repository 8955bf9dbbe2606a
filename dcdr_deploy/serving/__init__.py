"""More than one process or machine: the HTTP service, Triton model repositories, folders over a Ray cluster."""
