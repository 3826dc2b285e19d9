"""Evidence for people outside: signed bundles, the reconciliation with CloudTrail, the monthly report."""
