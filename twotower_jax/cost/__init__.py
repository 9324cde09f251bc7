"""The cost of a training, from shapes alone: memory, work, speed."""
