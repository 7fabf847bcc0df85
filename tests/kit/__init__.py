"""The kit that hosts test with."""
