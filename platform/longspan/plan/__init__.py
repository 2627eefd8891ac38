"""What a run will cost: operations, hardware peaks and memory, without torch or Ray."""
