"""What an invitation is: its states, its values, its tables."""
