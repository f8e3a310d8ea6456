"""Who may ask what: callers and how they are known, roles, masking, limits."""
