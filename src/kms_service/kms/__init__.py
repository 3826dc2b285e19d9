"""AWS KMS: the adapter over boto3, its faults, and the pool of customer managed keys."""
