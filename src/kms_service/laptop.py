"""How a process is told that it belongs to a laptop session."""

LOCAL_FOLDER_VARIABLE = "KMS_SERVICE_LOCAL_DIR"
"""Names the session's folder. Where it is set no `.env` is read: real credentials and stand-ins never mix."""
