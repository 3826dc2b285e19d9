"""Who calls: tokens and their authentication."""
