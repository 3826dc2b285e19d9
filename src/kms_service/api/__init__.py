"""HTTP: routes, models, problems. Parses and renders; decides nothing."""
