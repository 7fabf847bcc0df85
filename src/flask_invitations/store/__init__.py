"""All SQL, and the one transaction. Nothing here decides."""
