"""The chat window."""

from agent.tui.app import ChatApp, run_chat

__all__ = ["ChatApp", "run_chat"]
