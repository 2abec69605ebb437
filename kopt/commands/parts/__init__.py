"""Implement parts of commands: arguments that several commands share, and work that fills a module of its own."""
