"""The three faces: JSON API, the invitee's pages, the manager's desk. Each parses, calls one act, dumps."""
