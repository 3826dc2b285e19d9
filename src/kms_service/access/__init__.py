"""Who may do what: tokens, scopes, callers. Decides; never parses HTTP and never touches the database."""
