"""KMS calls that make and inspect keys, over boto3, for operators."""
