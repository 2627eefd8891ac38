"""The command `longspan`: one module per command or group of commands; what they need is imported when they run."""
