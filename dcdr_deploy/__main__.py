"""``python -m dcdr_deploy``: the same as ``dcdr-deploy``."""

from dcdr_deploy.cli import main

if __name__ == "__main__":
    main(prog_name="python -m dcdr_deploy")
