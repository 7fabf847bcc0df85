"""From an invitation to a mail, and the two mailers that ship."""
