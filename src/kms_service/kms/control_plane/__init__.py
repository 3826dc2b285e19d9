"""What is asked of KMS about keys, over boto3."""
