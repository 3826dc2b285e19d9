"""Evidence for auditors: signed bundles, the reconciliation with CloudTrail, and the monthly report."""
