"""In which language something is said, and how text of somebody's making is made harmless."""
