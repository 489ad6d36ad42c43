"""In the way of the real one."""

raise ImportError("left out for a test")
