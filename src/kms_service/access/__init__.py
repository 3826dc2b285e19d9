"""Who may do what: tokens, scopes, callers and limits. No HTTP, no database."""
