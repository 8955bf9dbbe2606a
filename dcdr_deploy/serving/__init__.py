"""More than one process or machine: HTTP service, Triton model repositories, folders and videos over a Ray cluster."""

SERVICE_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
"""What the HTTP service needs; the extra ``serve`` installs it."""
