"""`python -m agent` is `finetune`."""

from agent.importing import quick_imports

with quick_imports():
    from agent.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
