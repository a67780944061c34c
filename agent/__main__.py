"""`python -m agent` is `finetune`."""

from agent.cli import main

if __name__ == "__main__":
    main()
