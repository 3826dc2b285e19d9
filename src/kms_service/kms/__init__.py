"""AWS KMS: the data plane and its faults, the control plane over boto3, and the pool of keys."""
