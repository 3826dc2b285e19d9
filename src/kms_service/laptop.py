"""The variable that tells a process which laptop session it belongs to."""

LOCAL_FOLDER_VARIABLE = "KMS_SERVICE_LOCAL_DIR"
"""Names the session's folder. If it is set, no `.env` is read: real credentials and stand-ins never mix."""
